"""A real model and real preferences for a laptop: SmolLM2-135M-Instruct from PyPI, and arguments people voted
on.
"""
