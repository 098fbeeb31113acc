"""What the decoder vectors alone say of a latent: relative norm and cosine."""
