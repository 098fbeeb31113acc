"""Model diffing with crosscoders: from two language models to a report of what fine-tuning changed."""
