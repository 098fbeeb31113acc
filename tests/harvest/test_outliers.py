"""Rows whose norm exceeds a multiple of the median in either model are left out, and counted."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.harvest.dump import dump
from pipeline.harvest.outliers import NormLimits, measure_limits, row_norms, sample_sequences
from pipeline.harvest.pair import HookedPair
from pipeline.harvest.sink import NormFilter, Target
from pipeline.harvest.tally import TALLY, Tally, counts_of
from pipeline.store import StoreReader, StoreWriter
from tests.harvest.test_dump import die_after, files, read
from tests.harvest.test_dump import run as dump_all

N_SEQUENCES, BATCH_TOKENS, ROWS_PER_CHUNK = 22, 4 * 16, 30
SINK, SINK_OF_IT = 7, 8
SOURCES = ("pile", "chat")


@pytest.fixture(autouse=True)
def in_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # logs/ goes here


@pytest.fixture
def sinks(pair: HookedPair) -> HookedPair:
    """The pair with a token that is a sink in both models, and one that is a sink in IT."""
    for model, tokens in zip(pair.models, ((SINK,), (SINK, SINK_OF_IT)), strict=True):
        for token in tokens:
            model.get_parameter("model.embed_tokens.weight")[token] *= 300
    return pair


def limits_of(tokens: StoreReader, pair: HookedPair, ratio: float = 10.0) -> NormLimits:
    (limits,) = measure_limits(tokens, range(N_SEQUENCES), pair, batch_sequences=4, ratio=ratio)
    return limits


def run(path: Path, tokens: StoreReader, pair: HookedPair, limits: NormLimits) -> dict[str, int]:
    (counts,) = dump(
        [
            Target(
                lambda layout, n_rows: StoreWriter.open(path, layout),
                norms=NormFilter(limits, path),
            )
        ],
        tokens,
        range(N_SEQUENCES),
        pair,
        batch_tokens=BATCH_TOKENS,
        rows_per_chunk=ROWS_PER_CHUNK,
        codec="none",
        progress_name="dump",
    )
    return counts


def bits_of(norm_RM: NDArray[np.floating]) -> NDArray[np.uint16]:
    """Rows [R, M, 1] of these norms."""
    rows = torch.from_numpy(np.asarray(norm_RM, np.float32))[..., None]
    return rows.bfloat16().view(torch.uint16).numpy()


def test_the_rows_that_stay_are_those_of_a_whole_dump_within_the_limits(
    tokens: StoreReader, sinks: HookedPair
) -> None:
    dump_all(Path("whole.zarr"), tokens, sinks)
    counts = run(Path("a.zarr"), tokens, sinks, limits_of(tokens, sinks))
    whole, found = read(Path("whole.zarr")), read(Path("a.zarr"))
    norms = torch.from_numpy(whole["activations"]).view(torch.bfloat16).float().norm(dim=2)
    stay = (norms <= 10 * norms.median(dim=0).values).all(dim=1).numpy()
    is_sink = np.isin(whole["token_id"], (SINK, SINK_OF_IT))
    assert is_sink.sum() > 5
    assert not stay[is_sink].any()
    for name in whole:
        assert np.array_equal(found[name], whole[name][stay]), name
    assert counts["n_rows"] == stay.sum()
    assert counts["n_outliers"] == (~stay).sum()
    assert counts["n_bos_dropped"] == N_SEQUENCES + 3


def test_what_is_left_out_is_counted_by_reason_position_and_source(
    tokens: StoreReader, sinks: HookedPair
) -> None:
    counts = run(Path("a.zarr"), tokens, sinks, limits_of(tokens, sinks))
    token_id, source = tokens.read("token_id"), tokens.read("source")
    in_both, in_it = token_id == SINK, token_id == SINK_OF_IT
    gone = in_both | in_it
    assert counts["n_outliers_both"] == in_both.sum()
    assert counts["n_outliers_it_only"] == in_it.sum()
    assert counts["n_outliers_base_only"] == 0
    for position in range(1, 9):
        assert counts[f"n_outliers_at_{position}"] == gone[:, position].sum()
    assert counts["n_outliers_later"] == gone[:, 9:].sum()
    for code, name in enumerate(SOURCES):
        assert counts[f"n_{name}_outliers"] == gone[source == code].sum()


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(1, 12), st.integers(0, 1)),
        max_size=20,
    ),
    st.sampled_from([1.0000001, 1.05, 2.0, 10.0]),
    st.tuples(st.integers(0, 20), st.integers(0, 20)),
)
def test_a_row_goes_where_either_norm_exceeds_its_limit_and_is_counted_once(
    rows: list[tuple[int, int, int, int]], ratio: float, median: tuple[int, int]
) -> None:
    norms = np.array([row[:2] for row in rows], np.float64).reshape(-1, 2)
    beyond = NormLimits(ratio, median, 1).beyond(bits_of(norms))
    assert beyond.tolist() == (norms > ratio * np.array(median)).tolist()
    labels = {
        "position": np.array([row[2] for row in rows], np.int32),
        "source": np.array([row[3] for row in rows], np.uint8),
        "token_class": np.zeros(len(rows), np.uint8),
    }
    counts = counts_of(labels, beyond, SOURCES)
    assert counts["n_rows"] + counts["n_outliers"] == len(rows)
    for names in (
        ("n_outliers_base_only", "n_outliers_it_only", "n_outliers_both"),
        (*(f"n_outliers_at_{n}" for n in range(1, 9)), "n_outliers_later"),
        ("n_pile_outliers", "n_chat_outliers"),
    ):
        assert sum(counts[name] for name in names) == counts["n_outliers"], names
    assert counts["n_pile_rows"] + counts["n_chat_rows"] == counts["n_rows"]


def test_rows_of_one_norm_all_stay_however_small_the_ratio() -> None:
    bits = bits_of(np.full((7, 2), 3.0))
    median = tuple(np.median(row_norms(bits), axis=0).tolist())
    assert not NormLimits(1.0000001, median, 7).beyond(bits).any()


@pytest.mark.parametrize("deaths", [[1], [2, 1], [5]])
def test_a_killed_dump_with_a_filter_goes_on_to_equal_bytes(
    tokens: StoreReader, sinks: HookedPair, monkeypatch: pytest.MonkeyPatch, deaths: list[int]
) -> None:
    limits = limits_of(tokens, sinks)
    expected = run(Path("unbroken.zarr"), tokens, sinks, limits)
    for batches_before_death in deaths:
        with monkeypatch.context() as patch:
            die_after(patch, batches_before_death)
            with pytest.raises(KeyboardInterrupt):
                run(Path("killed.zarr"), tokens, sinks, limits)
    assert run(Path("killed.zarr"), tokens, sinks, limits) == expected
    assert files(Path("killed.zarr")) == files(Path("unbroken.zarr"))
    assert run(Path("killed.zarr"), tokens, sinks, limits) == expected, "finished: counts are read"


@pytest.mark.parametrize("n_bytes", [0, 1, 700, 1500])
def test_counts_that_a_power_cut_took_are_counted_again(
    tokens: StoreReader, sinks: HookedPair, monkeypatch: pytest.MonkeyPatch, n_bytes: int
) -> None:
    """The rows are durable, the lines are not: what is not counted is computed once more."""
    limits = limits_of(tokens, sinks)
    run(Path("unbroken.zarr"), tokens, sinks, limits)
    with monkeypatch.context() as patch:
        die_after(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            run(Path("killed.zarr"), tokens, sinks, limits)
    counted = (Path("killed.zarr") / TALLY).read_bytes()
    assert len(counted) > 1500
    (Path("killed.zarr") / TALLY).write_bytes(counted[:n_bytes])
    run(Path("killed.zarr"), tokens, sinks, limits)
    assert files(Path("killed.zarr")) == files(Path("unbroken.zarr"))


def test_a_torn_line_and_all_after_it_are_cut_off(tmp_path: Path) -> None:
    counts = {"n_rows": 3, "n_outliers": 1}
    first = Tally.open(tmp_path)
    first.add(counts)
    whole = (tmp_path / TALLY).read_bytes()
    (tmp_path / TALLY).write_bytes(whole + b"\0\0\n" + whole)
    again = Tally.open(tmp_path)
    assert (again.n_batches, again.counts) == (1, Counter(counts))
    assert (tmp_path / TALLY).read_bytes() == whole


def test_batches_that_lose_all_their_rows_leave_the_store_whole(
    tokens: StoreReader, pair: HookedPair
) -> None:
    """The first and the last batch of the grid are all outliers."""
    dump_all(Path("whole.zarr"), tokens, pair)
    whole = read(Path("whole.zarr"))
    middle = (whole["sequence"] >= 4) & (whole["sequence"] < 20)
    norms = row_norms(whole["activations"])

    class Middle(NormLimits):
        def beyond(self, bits: NDArray[np.uint16]) -> NDArray[np.bool_]:
            return np.isin(row_norms(bits), norms[middle], invert=True)

    run(Path("a.zarr"), tokens, pair, Middle(2.0, (1.0, 1.0), 1))
    found = read(Path("a.zarr"))
    assert found["sequence"].min() >= 4
    assert set(range(4, 20)) <= set(found["sequence"])


def test_a_source_of_which_nothing_is_left_is_refused(
    tokens: StoreReader, pair: HookedPair
) -> None:
    with pytest.raises(ConfigError, match=r"max_norm_ratio is 2, and all 165 rows .* source pile"):
        run(Path("a.zarr"), tokens, pair, NormLimits(2.0, (0.0, 0.0), 1))


def test_the_median_is_that_of_the_sampled_sequences(tokens: StoreReader, pair: HookedPair) -> None:
    chosen = sample_sequences(N_SEQUENCES, 5, seed=3)
    (limits,) = measure_limits(tokens, chosen, pair, batch_sequences=2, ratio=4.0)
    dump_all(Path("whole.zarr"), tokens, pair)
    rows = read(Path("whole.zarr"))
    norms = row_norms(rows["activations"][np.isin(rows["sequence"], chosen)])
    assert limits.n_rows == len(norms)
    assert limits.median_M == pytest.approx(np.median(norms, axis=0), rel=2**-7)


@given(st.integers(1, 50), st.integers(1, 60), st.integers(0, 3))
def test_a_sample_has_distinct_sequences_of_the_train_split(n: int, n_sampled: int, seed: int):
    drawn = sample_sequences(n, n_sampled, seed)
    assert len(drawn) == min(n, n_sampled)
    assert (np.diff(drawn) > 0).all()
    assert drawn.min() >= 0
    assert drawn.max() < n
    assert np.array_equal(drawn, sample_sequences(n, n_sampled, seed))
