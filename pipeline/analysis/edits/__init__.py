"""How well each method names known edits of a model.

effects    each edit made alone: its rows, directions, share of the difference, kind
methods    the list that each method gives
score      lists against truth: recovered, false, kinds; pooled over seeds with intervals
"""
