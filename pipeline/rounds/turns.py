"""Stores of several layers, of which the one in force has the place of the stage's output."""

from collections.abc import Mapping

from pipeline.artifacts import Build

Builds = Mapping[int, Build]
"""Layer -> where its store is built."""


def take_turns(builds: Builds, layer: int) -> None:
    """Put the store of `layer` in its place where it was finished aside before, and set aside the
    one that is there."""
    for other in builds.keys() - {layer}:
        builds[other].take_back()
    builds[layer].put_in_place()
