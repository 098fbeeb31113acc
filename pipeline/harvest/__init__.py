"""Dump: paired residual activations of both models, token by token, into a store."""
