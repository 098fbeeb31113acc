import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.analysis.dashboards.example_pass import (
    ExamplePass,
    WindowShape,
    example_pass,
    restricted,
    sequence_blocks,
)
from pipeline.analysis.dashboards.excerpts import FIELDS, first_of_each, sequences_of
from pipeline.analysis.dashboards.file import DASHBOARDS, read_dashboards, write_dashboards
from pipeline.analysis.dashboards.histograms import N_BINS, Activity
from pipeline.analysis.dashboards.neuronpedia import feature
from pipeline.analysis.dashboards.records import Records, choose
from pipeline.analysis.dashboards.run import nearest_latents
from pipeline.analysis.groups import Cells
from pipeline.analysis.lens import LISTS, TokenList, logit_lens
from pipeline.analysis.losses import Head
from pipeline.errors import ArtifactError, MissingArtifactError
from pipeline.store import StoreReader, StoreWriter, token_layout
from tests.analysis.stores import heldout_store, random_crosscoder

CELLS = Cells(("pile", "chat"))
LENGTH = 11  # BOS and ten rows, as heldout_store numbers positions from 1


def token_store(path: Path, n_sequences: int) -> StoreReader:
    """Token (sequence, position) has id 100 * sequence + position; position 0 is BOS."""
    ids = 100 * np.arange(n_sequences)[:, None] + np.arange(LENGTH)
    with StoreWriter.open(path, token_layout(LENGTH, 4)) as writer:
        writer.append(
            {
                "token_id": ids.astype(np.int32),
                "document": ids.astype(np.int32),
                "source": np.zeros(ids.shape, np.uint8),
                "token_class": np.zeros(ids.shape, np.uint8),
                "split": np.ones(n_sequences, np.uint8),
            }
        )
        writer.finish()
    return StoreReader.open(path)


class Run:
    """A pass over made-up rows, and the same activations computed at once."""

    def __init__(
        self, folder: Path, n_rows: int = 400, batch_rows: int = 64, n_sampled: int = 12
    ) -> None:
        rows = torch.randn(n_rows, 2, 5, generator=torch.Generator().manual_seed(1)) * 2
        self.crosscoder = random_crosscoder()
        self.latents = np.array([1, 4, 7, 10])
        with (
            heldout_store(folder / "rows", rows) as activations,
            token_store(folder / "tokens", n_rows // 10) as tokens,
        ):
            self.kept = example_pass(
                self.crosscoder,
                activations,
                tokens,
                self.latents,
                shape=WindowShape(before=3, after=2, n_top=4, n_sampled=n_sampled),
                n_rows=n_rows,
                batch_rows=batch_rows,
                random=torch.Generator().manual_seed(0),
            )
        whole = self.crosscoder.encode(self.crosscoder.normalise(rows.bfloat16().float()))
        self.f = whole.detach().numpy()[:, self.latents]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("run"))


def test_without_random_examples_the_strongest_are_the_same(run: Run, tmp_path: Path) -> None:
    alone = Run(tmp_path, n_sampled=0)
    np.testing.assert_array_equal(alone.kept.top.score_JT, run.kept.top.score_JT)
    assert alone.kept.sampled.score_JT.size == 0


def test_the_strongest_rows_are_those_of_a_full_sort_one_per_document(run: Run) -> None:
    document = np.arange(len(run.f)) // 10
    best = np.stack([run.f[document == d].max(axis=0) for d in range(document[-1] + 1)])
    assert np.allclose(run.kept.top.value_JT, -np.sort(-best, axis=0)[:4].T, atol=1e-5)


def test_a_window_holds_the_activations_and_tokens_around_its_row(run: Run) -> None:
    for windows in (run.kept.top, run.kept.sampled):
        for j, t in np.argwhere(windows.score_JT > 0):
            sequence, position = windows.place_JTF[j, t, :2]
            for w, offset in enumerate(range(-3, 3)):
                at = position + offset
                token = windows.token_JTW[j, t, w]
                f = windows.f_JTW[j, t, w]
                assert token == (100 * sequence + at if 0 <= at < LENGTH else -1)
                if 1 <= at < LENGTH:
                    assert f == pytest.approx(run.f[sequence * 10 + at - 1, j], abs=1e-5)
                else:
                    assert np.isnan(f)  # BOS has no row; beyond the ends there is no token


def test_counts_are_those_of_a_direct_count(run: Run) -> None:
    at = np.arange(len(run.f))
    cell = (at // 10 % 2) * 2 + (at % 3 == 0)
    for c in range(CELLS.n):
        expected = (run.f[cell == c] > 0).sum(axis=0)
        assert np.array_equal(run.kept.activity.n_active_JC[:, c], expected)
        assert run.kept.activity.n_C[c] == (cell == c).sum()


def test_what_is_kept_does_not_grow_with_the_rows(run: Run, tmp_path: Path) -> None:
    longer = Run(tmp_path, n_rows=1200)
    bound = 4 * (8 * 6 + 48)
    for name, n_kept in (("top", 4), ("sampled", 12)):
        windows = [getattr(r.kept, name) for r in (run, longer)]
        assert windows[0].n_bytes == windows[1].n_bytes <= n_kept * bound
    assert run.kept.activity.count_JCH.nbytes == longer.kept.activity.count_JCH.nbytes


def test_the_size_of_a_batch_changes_no_strongest_row_and_no_count(
    run: Run, tmp_path: Path
) -> None:
    other = Run(tmp_path, batch_rows=150)
    assert np.array_equal(run.kept.top.place_JTF, other.kept.top.place_JTF)
    assert np.array_equal(run.kept.activity.count_JCH, other.kept.activity.count_JCH)


def test_the_sample_is_uniform_over_the_active_rows_of_all_batches() -> None:
    """A rare batch and a common one: each active row is kept equally often."""
    shape, n_runs = WindowShape(before=0, after=0, n_top=1, n_sampled=5), 400
    seen = np.zeros(50)
    for seed in range(n_runs):
        running = ExamplePass(1, shape, CELLS, torch.Generator().manual_seed(seed))
        for first, n in ((0, 40), (40, 10)):
            rows = {name: np.zeros(n, np.int32) for name in FIELDS}
            rows["position"] = np.arange(first, first + n, dtype=np.int32)
            around = sequences_of(
                rows, np.zeros((1, 50), np.int32), first_sequence=0, before=0, after=0
            )
            running.see(torch.ones(n, 1), around, np.zeros(n, np.int64))
        seen[running.kept.sampled.place_JTF[0, :, 1]] += 1
    expected = n_runs * 5 / 50
    assert seen.sum() == n_runs * 5
    assert ((seen - expected) ** 2 / expected).sum() < 85.4  # chi-square, 49 degrees, p = 0.001


def test_restricting_a_crosscoder_changes_no_activation() -> None:
    crosscoder = random_crosscoder()
    x = torch.randn(20, 2, 5, generator=torch.Generator().manual_seed(3))
    some = np.array([2, 9])
    assert torch.allclose(restricted(crosscoder, some).encode(x), crosscoder.encode(x)[:, some])


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 40), st.integers(1, 20))
def test_blocks_are_whole_sequences_and_as_many_rows_as_asked(
    lengths: list[int], n_rows: int, batch_rows: int
) -> None:
    sequence = np.repeat(np.arange(len(lengths)), lengths)
    blocks = sequence_blocks(sequence, n_rows, batch_rows)
    for start, stop in blocks:
        assert start == 0 or sequence[start - 1] != sequence[start]
        assert stop == len(sequence) or sequence[stop] != sequence[stop - 1]
        assert stop - start <= batch_rows or len(set(sequence[start:stop].tolist())) == 1
    if n_rows >= len(sequence):
        assert sum(stop - start for start, stop in blocks) == len(sequence)
    assert len(blocks) == len(set(blocks)) >= 1


@given(st.lists(st.floats(2.0**-20, 2.0**20, width=32), min_size=1, max_size=60), st.integers(1, 7))
def test_a_histogram_counts_every_value_in_its_bin_however_it_arrives(
    values: list[float], step: int
) -> None:
    activity = Activity(1, CELLS)
    f = torch.tensor(values)[:, None]
    for at in range(0, len(f), step):
        part = f[at : at + step]
        activity.see(part, np.zeros(len(part), np.int64))
    width = activity.width_J[0]
    expected = np.bincount((f[:, 0].double().numpy() / width).astype(int), minlength=N_BINS)
    assert np.array_equal(activity.count_JCH[0, 0], expected)
    assert width * N_BINS / 2 <= max(values) < width * N_BINS


def test_ranks_and_quantiles_invert_each_other() -> None:
    activity = Activity(1, CELLS)
    f = torch.rand(5000, 1, generator=torch.Generator().manual_seed(0)) * 3
    activity.see(f, np.zeros(5000, np.int64))
    for share in (0.1, 0.5, 0.9):
        (value,) = activity.quantiles(0, np.array([share]))
        assert value == pytest.approx(float(f.quantile(share)), abs=0.1)
        assert activity.rank(0, value) == pytest.approx(share, abs=1e-6)


def test_a_document_counts_once_with_its_highest_score() -> None:
    score = np.array([[1, 5, 3, 2]], np.float32)
    assert first_of_each(score, np.array([[7, 8, 8, 7]])).tolist() == [[0, 5, 0, 2]]


def test_a_small_run_shows_every_live_latent_a_large_one_the_exclusive_and_a_spread() -> None:
    verdict = np.array(["shared"] * 100, object)
    verdict[[3, 50]], verdict[9] = "it_only", "dead"
    norm_bin = np.where(np.arange(100) == 20, "base_only", "shared")
    table = {"verdict": verdict, "norm_bin": norm_bin, "n_active": np.arange(100)}
    assert choose(table, 99).tolist() == [i for i in range(100) if i != 9]
    some = choose(table, 13)
    assert len(set(some.tolist())) == 13
    assert {3, 50, 20} <= set(some.tolist())
    others = [i for i in some.tolist() if i not in (3, 50, 20)]
    assert min(others) < 15
    assert max(others) > 85
    assert choose(table, 2).tolist() == [3, 50]


def test_the_lens_ranks_what_each_head_writes_and_where_they_differ() -> None:
    """Heads with a norm, a bias and a soft-cap: a constant that every direction gets is no lens."""
    W = torch.eye(6)

    def head(hidden: torch.Tensor) -> torch.Tensor:
        unit = hidden / hidden.square().mean(dim=1, keepdim=True).add(1e-6).sqrt()
        return 5 * torch.tanh((unit @ W + torch.tensor([9.0, 0, 0, 0, 0, 0])) / 5)

    decoders = torch.zeros(2, 2, 6)
    decoders[0, 0, 2], decoders[0, 1, 2], decoders[0, 1, 3] = 1.0, 3.0, -3.0
    decoders[1, 1, 4] = 0.5
    heads = Head(head, 6, room_bytes=1), Head(head, 6, room_bytes=1)
    lens = logit_lens(heads, decoders, n_tokens=2, n_vocab=6)
    assert list(lens) == list(LISTS)
    assert lens["base_promoted"].token_JK[0, 0] == 2
    assert lens["it_suppressed"].token_JK[0, 0] == 3
    assert lens["it_suppressed"].logit_JK[0, 0] == pytest.approx(-5 * np.tanh(3**0.5 / 5), abs=1e-3)
    assert lens["more_in_it"].token_JK[:, 0].tolist() == [2, 4]
    assert lens["more_in_base"].token_JK[0, 0] == 3
    assert not lens["base_promoted"].logit_JK[1].any(), "a zero decoder writes nothing"


def test_the_lens_shows_no_padding_of_the_vocabulary() -> None:
    same = Head(lambda hidden: hidden, 8, room_bytes=2**20)
    lens = logit_lens((same, same), torch.ones(1, 2, 8), n_tokens=9, n_vocab=5)
    assert sorted(lens["it_promoted"].token_JK[0].tolist()) == [0, 1, 2, 3, 4]


def test_nearest_latents_are_those_of_the_full_cosine_matrix() -> None:
    W = torch.randn(30, 2, 4, generator=torch.Generator().manual_seed(2))
    joint = W.flatten(1).double().numpy()
    joint /= np.linalg.norm(joint, axis=1, keepdims=True)
    cosine = joint @ joint.T
    np.fill_diagonal(cosine, -2)
    index, value = nearest_latents(W, np.array([5, 17]), 3)
    for row, latent in enumerate((5, 17)):
        assert index[row].tolist() == np.argsort(-cosine[latent])[:3].tolist()
        assert np.allclose(value[row], np.sort(cosine[latent])[::-1][:3], atol=1e-6)


def records(run: Run) -> Records:
    tokens = TokenList(np.full((4, 2), 3), np.ones((4, 2), np.float32))
    return Records(
        run.latents,
        run.kept,
        norms_JM=np.ones((4, 2)),
        lens=dict.fromkeys(LISTS, tokens),
        nearest=(np.zeros((4, 1), np.int64), np.ones((4, 1))),
        text_of=lambda ids: [f"<{i}>" for i in ids],
        name_of=str,
        n_bands=4,
        n_per_band=2,
    )


def test_a_record_goes_into_the_format_of_other_tools(run: Run) -> None:
    for j, record in enumerate(records(run)):
        exported = feature(record, "it")
        assert sum(exported["freq_hist_data_bar_heights"]) == np.count_nonzero(run.f[:, j] > 0)
        assert len(exported["activations"]) >= len(record["top"]) > 0


def test_a_record_marks_the_token_and_sorts_its_bands(run: Run) -> None:
    for j, record in enumerate(records(run)):
        for example in record["top"]:
            token = 100 * example["sequence"] + example["position"]
            assert example["tokens"][example["at"]] == f"<{token}>"
            assert example["values"][example["at"]] == example["value"]
            assert len(example["tokens"]) == len(example["values"])
        assert [band["from"] for band in record["bands"]] == [0.75, 0.5, 0.25, 0]
        active = run.f[:, j][run.f[:, j] > 0]
        width = record["histogram"]["width"]
        for band in record["bands"]:
            assert np.quantile(active, band["from"]) == pytest.approx(band["low"], abs=width)
            for example in band["examples"]:
                assert band["low"] - width <= example["value"] <= band["high"] + width
        shown = sum(len(band["examples"]) for band in record["bands"])
        assert 0 < shown <= 8


def test_written_dashboards_are_read_back_and_are_the_same_bytes(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert write_dashboards(tmp_path / "a" / DASHBOARDS, iter(records(run))) == 4
    first = (tmp_path / "a" / DASHBOARDS).read_bytes()
    write_dashboards(tmp_path / "a" / DASHBOARDS, iter(records(run)))
    assert (tmp_path / "a" / DASHBOARDS).read_bytes() == first
    plain = json.loads(json.dumps(list(records(run))))
    assert list(read_dashboards(tmp_path / "a")) == plain


def test_missing_and_damaged_dashboards_are_named(run: Run, tmp_path: Path) -> None:
    with pytest.raises(MissingArtifactError, match="run `dvc repro dashboards`"):
        next(read_dashboards(tmp_path))
    write_dashboards(tmp_path / DASHBOARDS, iter(records(run)))
    data = (tmp_path / DASHBOARDS).read_bytes()
    (tmp_path / DASHBOARDS).write_bytes(data[: len(data) // 2])
    with pytest.raises(ArtifactError, match="is damaged"):
        list(read_dashboards(tmp_path))
