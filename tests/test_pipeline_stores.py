"""The graph as far as `train` at the `smoke` size: what becomes of its stores."""

import shutil
import sys
from pathlib import Path

import pytest

from tests.checkout import ALWAYS_RUN, STAGES, Checkout
from tests.store.numbered import bytes_below


@pytest.fixture(scope="module")
def checkout(module_path: Path, programs: str) -> Checkout:
    copy = Checkout.fresh(module_path / "clone", programs)
    before_train = STAGES[: STAGES.index("train") + 1]
    assert copy.repro("train") == [name for name in before_train if name not in ALWAYS_RUN]
    return copy


def test_another_chunk_size_is_dumped_shuffled_and_trained_on_anew(checkout: Checkout) -> None:
    checkout.override("dump.rows_per_chunk=512")
    assert checkout.repro("train") == ["compose", "dump", "shuffle", "train"]
    checkout.override("")
    assert set(checkout.repro("train")) <= {"compose"}, "going back must come from the cache"


def chunks(store: Path) -> dict[str, bytes]:
    """The chunk files of a store, wherever they lie."""
    from pipeline.bulk import resolve

    return {name: data for name, data in bytes_below(resolve(store)).items() if "/c/" in name}


def test_a_large_store_is_dealt_kept_out_of_dvc_and_dropped_once_shuffled(
    checkout: Checkout,
) -> None:
    from pipeline.errors import MissingArtifactError
    from pipeline.store import StoreReader, verify_store

    data = checkout.path / "data"
    shuffled, before = data / "shuffled.zarr", chunks(data / "shuffled.zarr")
    large = "dump.scatter_seed=49 runtime.bulk_dir=data/bulk runtime.drop_unshuffled=true"
    checkout.override(large)
    assert checkout.repro("shuffle") == ["compose", "dump", "shuffle"]
    assert chunks(shuffled) == before, "one pass gives the bytes of two, in the bulk as in data/"
    assert bytes_below(shuffled).keys() == {"manifest.json", "bulk.json"}
    with pytest.raises(MissingArtifactError, match="were dropped after they had been shuffled"):
        StoreReader.open(data / "activations.zarr")
    assert checkout.status("dump", "shuffle") == {}
    assert checkout.repro("shuffle") == []

    checkout.override("")
    assert set(checkout.repro("shuffle")) <= {"compose"}, "going back must come from the cache"
    assert bytes_below(shuffled).keys() > {"manifest.json", "seal.json"}
    assert chunks(shuffled) == before
    checkout.override(large)
    assert set(checkout.repro("shuffle")) <= {"compose"}, "the bulk is found by its fingerprint"
    assert verify_store(shuffled).n_rows > 0
    checkout.override("")
    assert set(checkout.repro("train")) <= {"compose"}


def test_a_stage_by_hand_refuses_a_store_of_another_configuration(checkout: Checkout) -> None:
    typed = ("python", "-m", "stages.shuffle", "+experiment=smoke", "hook_point.layer=0")
    done = checkout.run(*typed, check=False)
    assert done.returncode == 2
    assert "hook_point.layer = 1, but the configuration says 0" in done.stderr
    assert "Traceback" not in done.stderr


def test_two_processes_dump_the_same_bytes_and_train_the_same_crosscoder(
    checkout: Checkout,
) -> None:
    from pipeline.artifacts import manifest_digest

    data, curve = checkout.path / "data", checkout.path / "results/training.csv"
    stores = [data / "activations.zarr", data / "heldout_activations.zarr"]
    digests = [manifest_digest(store) for store in stores]  # over the sums of all chunks
    last = curve.read_text().splitlines()[-1]
    for made in (*stores, data / "crosscoder"):
        shutil.rmtree(made)
    for stage in ("dump", "train"):
        launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
        checkout.run(sys.executable, *launch, "-m", f"stages.{stage}")
    assert [manifest_digest(store) for store in stores] == digests
    # shares near 0 are differences from 1, and as exact as that
    assert numbers(curve.read_text().splitlines()[-1]) == pytest.approx(
        numbers(last), rel=1e-3, abs=1e-4
    )
    checkout.run("dvc", "checkout", "--force", "train")


def numbers(line: str) -> list[float]:
    return [float(value) for value in line.split(",")]
