"""Planting adds features of known kind to rows, so that verdicts can be held against the truth.

    background rows + features.contributions(activations) -> pairing -> store, and data/plant/

The background is a real pair's activations or a synthetic one (`background`, `synthetic`). A
planted feature has a direction and a gain in each model, a rate, and contexts in which it fires.
Whether it fires on a row is a hash of the row's place (`hashing`), so it can be asked for again.

Key types: Features (the planted dictionary), Plant (adds it to rows), Synthetic (rows without any
model). `pairing` undoes the pairing of rows for null pairs, `truth` writes what was planted.
"""
