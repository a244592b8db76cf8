"""What the papers, and we, predict: rates, bounds, constants and closed forms; it imports no code under
test.
"""
