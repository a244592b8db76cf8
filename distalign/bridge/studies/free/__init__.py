"""Claims on language models that write freely."""
