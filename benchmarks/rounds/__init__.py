"""What rounds cost: crosscoders trained on the full permutation and in rounds, seed by seed.

orders.py      the order of training rows of each arm: the full permutation, rounds, rounds that
               carry rows over to the next
measured.py    what is compared: fit, verdicts, the list of changes
__main__.py    trains every arm under every seed and tells the differences
"""
