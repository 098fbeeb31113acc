"""Known edits of a copy of a model, recorded so that each can be made alone.

edit.py     `Edit`: made, put back, written and read
inputs.py   what a model's output matrices are given on a text, as sums
draw.py     edits drawn at random by those sums
"""
