"""Whose a latent is: latent scaling and the tests that stand on it."""
