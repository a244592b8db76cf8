"""Benchmarks of distalign against its peers, each pair in one run: `python -m benchmarks`."""
