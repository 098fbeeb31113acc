"""Training a crosscoder from the rows of a shuffled store."""
