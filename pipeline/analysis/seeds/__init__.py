"""Whether other seeds give the same latents and verdicts."""
