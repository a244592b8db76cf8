"""Studies of AOT, distributional preference alignment by optimal transport (arXiv 2406.05882)."""
