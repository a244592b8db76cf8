"""Studies of DDRO and RDRO."""
