"""Studies of KLDPO and WDPO on language models."""
