"""The store of planted rows: what is in it, and that a kill changes none of its bytes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.plant.rows import to_float
from pipeline.plant.synthetic import Synthetic, write_rows
from pipeline.store import StoreReader, StoreWriter, verify_store
from tests.plant.plants import plant

PILE, CHAT = 0, 1

SYNTHETIC = Synthetic.draw(plant({"shared": {}, "it_only": {"base_gain": 0.0}}))


@pytest.fixture(autouse=True)
def in_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(path: Path, *, heldout: bool = False) -> dict[str, int]:
    return write_rows(
        lambda layout, _n_rows: StoreWriter.open(path, layout),
        SYNTHETIC,
        SYNTHETIC.documents(heldout=heldout),
        lambda bits, labels: bits,
        rows_per_chunk=700,
        codec="none",
        progress_name="dump",
    )


def read(path: Path) -> dict[str, np.ndarray]:
    with StoreReader.open(path) as store:
        return store.rows(0, store.n_rows)


def files(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


@pytest.mark.parametrize("deaths", [[1], [2], [1, 1, 1], [9, 4, 1]])
def test_a_killed_dump_goes_on_to_equal_bytes(
    monkeypatch: pytest.MonkeyPatch, deaths: list[int]
) -> None:
    write(Path("unbroken.zarr"))
    original = StoreWriter._write_array
    for n in deaths:
        left = [n * 7]

        def killed(self: StoreWriter, *args: object, left: list[int] = left) -> tuple[int, int]:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return original(self, *args)  # pyright: ignore[reportArgumentType]

        with monkeypatch.context() as patch:
            patch.setattr(StoreWriter, "_write_array", killed)
            with pytest.raises(KeyboardInterrupt):
                write(Path("killed.zarr"))
    write(Path("killed.zarr"))
    assert files(Path("killed.zarr")) == files(Path("unbroken.zarr"))
    verify_store(Path("killed.zarr"))


def test_the_rows_are_the_background_and_the_features_and_nothing_else() -> None:
    write(Path("a.zarr"))
    rows = read(Path("a.zarr"))
    background = SYNTHETIC.background.rows(range(SYNTHETIC.background.documents_per_block))
    n = len(background)
    labels = [rows[name][:n].astype(np.int64) for name in ("document", "sequence", "position")]
    features = SYNTHETIC.plant.features
    added = features.contributions(features.activations(*labels), rows["source"][:n].astype(int))
    found = to_float(rows["activations"][:n])
    expected = torch.from_numpy(background + SYNTHETIC.plant.unit * added).bfloat16().float()
    np.testing.assert_array_equal(found, expected.numpy())
    assert np.abs(found[:, 1] - background[:, 1]).max() > 1


def test_the_splits_share_no_document_and_no_row() -> None:
    counts = [write(Path(f"{split}.zarr"), heldout=split) for split in (False, True)]
    train, heldout = (read(Path(f"{split}.zarr")) for split in (False, True))
    assert not set(train["document"]) & set(heldout["document"])
    assert len(train["document"]) == counts[0]["n_rows"] == 20_000
    assert len(heldout["document"]) == counts[1]["n_rows"] == 9_000
    rows = {row.tobytes() for row in train["activations"]}
    assert not any(row.tobytes() in rows for row in heldout["activations"])


def test_half_of_the_documents_are_chats() -> None:
    counts = write(Path("a.zarr"))
    rows = read(Path("a.zarr"))
    source = rows["source"][:: SYNTHETIC.background.config.document_rows]
    assert (source == PILE).sum() == (source == CHAT).sum()
    assert counts["n_pile_rows"] + counts["n_chat_rows"] == counts["n_rows"]


def test_the_background_is_correlated_between_models_and_has_outliers() -> None:
    rows = SYNTHETIC.background.rows(range(200)).astype(np.float64)
    centred = rows - rows.mean(axis=0)
    spread = centred.std(axis=(0, 1))
    assert spread.max() > 3 * np.median(spread)
    centred /= SYNTHETIC.background.outlier_D
    between = (centred[:, 0] * centred[:, 1]).sum() / np.prod(
        [np.linalg.norm(centred[:, m]) for m in range(2)]
    )
    assert 0.5 < between < 0.8  # (1 - noise_share) at a cosine of 0.9
    assert np.linalg.norm(rows.mean(axis=0)[0]) > 2.0
