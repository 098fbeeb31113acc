"""What each latent fires on, and what it writes in each model."""
