"""Studies of f-DPO on language models."""
