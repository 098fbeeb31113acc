"""Crosscoders: the module, its variants' losses and gradients, and its files.

`from pipeline.crosscoder import load` reads a crosscoder from any of the known layouts.
"""

from pipeline.crosscoder.files import load, save
from pipeline.crosscoder.model import Crosscoder

__all__ = ["Crosscoder", "load", "save"]
