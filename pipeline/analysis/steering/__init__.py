"""What both models write and do with a change taken out, doubled or added.

moves.py     `Condition`: what is added to a model's rows, for changes and position differences
writing.py   continuations of every prompt under every condition, greedy and sampled
planted.py   how often the planted reply of a model organism appears under each
run.py       prompts, and `results/steering.json`; result.py: its types
"""
