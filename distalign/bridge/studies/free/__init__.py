"""Studies of language models that write freely."""
