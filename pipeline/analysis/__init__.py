"""Instruments that several questions share, and one package per question, named like its stage."""
