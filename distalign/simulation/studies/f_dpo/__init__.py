"""Studies of f-DPO."""
