"""Preference data: files and Hub sets to token ids, batches and their order."""
