"""How well the crosscoder explains held-out rows, and what splicing it in costs."""
