"""Studies of AOT on language models."""
