"""What experiments over the layers of one dump have found, side by side.

run.py       `compared`: this experiment's figures beside those that stand in the file already
result.py    `results/layers.json`: its types
"""
