"""Simpler accounts of the difference: its mean, and an SAE trained on it."""
