"""Studies of AOT."""
