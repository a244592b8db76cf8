"""Studies of KLDPO and WDPO."""
