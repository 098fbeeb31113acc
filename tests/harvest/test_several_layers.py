"""Several layers from one pass of the models give the stores that a pass for each gives."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.harvest.dump import dump
from pipeline.harvest.outliers import NormLimits, measure_limits
from pipeline.harvest.pair import HookedPair
from pipeline.harvest.sink import NormFilter, Target
from pipeline.store import StoreReader, StoreWriter
from tests.harvest.test_dump import BATCH_TOKENS, ROWS_PER_CHUNK, die_after, files

LAYERS = (0, 1, 2)


@pytest.fixture(autouse=True)
def in_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # logs/ goes here


def run(
    folder: Path, tokens: StoreReader, pair: HookedPair, limits: Sequence[NormLimits] = ()
) -> list[dict[str, int]]:
    """A store per layer of the pair below `folder`."""
    paths = [folder / str(layer) for layer in pair.layers]
    norms = [NormFilter(*each) for each in zip(limits, paths, strict=True)] if limits else []
    targets = [
        Target(
            lambda layout, n_rows, path=path: StoreWriter.open(path, layout),
            norms=norms[k] if norms else None,
        )
        for k, path in enumerate(paths)
    ]
    return dump(
        targets,
        tokens,
        range(tokens.n_rows),
        pair,
        batch_tokens=BATCH_TOKENS,
        rows_per_chunk=ROWS_PER_CHUNK,
        codec="none",
        progress_name="dump",
    )


@pytest.mark.parametrize("filtered", [False, True])
def test_the_stores_of_one_pass_are_those_of_a_pass_each_also_after_a_kill(
    tokens: StoreReader, pair: HookedPair, monkeypatch: pytest.MonkeyPatch, filtered: bool
) -> None:
    """With a filter each layer keeps rows of its own, so that its store goes on at another one."""
    every = replace(pair, layers=LAYERS)
    ids = range(tokens.n_rows)
    limits = measure_limits(tokens, ids, every, batch_sequences=4, ratio=1.1) if filtered else []
    with monkeypatch.context() as patch:
        die_after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            run(Path("together"), tokens, every, limits)
    counts = run(Path("together"), tokens, every, limits)
    for k, layer in enumerate(LAYERS):
        alone = run(Path("alone"), tokens, replace(pair, layers=(layer,)), limits[k : k + 1])
        assert alone == counts[k : k + 1]
    assert files(Path("together")) == files(Path("alone"))
    n_rows = [of_layer["n_rows"] for of_layer in counts]
    assert len(set(n_rows)) == (3 if filtered else 1), n_rows
