"""Studies of the distortion of alignment (arXiv 2505.23749).

Distortion is the factor by which the average utility under a rule falls short of the best in the same ball.
"""
