"""A real model and real preferences for a laptop.

The model is SmolLM2-135M-Instruct from PyPI; the preferences are arguments that people voted on.
"""
