"""Text: sources, chat template, tokens with their class, split by document, packed sequences."""
