"""Studies of f-DPO, direct preference optimisation with other divergences (arXiv 2309.16240)."""
