"""Studies of density ratios on language models."""
