"""Studies of the distortion of alignment on language models."""
