"""Distortion of AI Alignment (arXiv 2505.23749): the average utility that rules lose against the best in the
same ball.
"""
