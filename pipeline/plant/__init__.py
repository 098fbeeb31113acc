"""Planted truth: features of known kind in the rows, and null pairs, to hold verdicts against."""
