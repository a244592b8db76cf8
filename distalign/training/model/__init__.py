"""Language models: loaded, scored, and their reference log-probabilities."""
