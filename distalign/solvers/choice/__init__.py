"""Preference games, rewards and voting rules, each with a certificate, and the populations on which they do
worst.
"""
