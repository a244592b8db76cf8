"""Studies of claims on language models, one folder per paper."""
