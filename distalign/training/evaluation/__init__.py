"""Evaluation on held-out preferences and on samples; reports and model cards."""
