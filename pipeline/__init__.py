"""Model diffing with crosscoders: from two language models to what fine-tuning changed."""
