"""Whether latents carry a behaviour that was planted."""
