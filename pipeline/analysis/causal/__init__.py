"""Which latents carry the fine-tuning, tried in the IT model."""
