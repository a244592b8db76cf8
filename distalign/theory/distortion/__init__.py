"""Distortion of alignment methods in closed form."""
