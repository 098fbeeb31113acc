"""Verdicts against planted truth."""
