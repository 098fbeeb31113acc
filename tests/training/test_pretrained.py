from pathlib import Path

import pytest
import torch

from pipeline.config.crosscoder import PretrainedConfig
from pipeline.crosscoder import Crosscoder, load, save
from pipeline.crosscoder.hub import from_pretrained
from pipeline.errors import MismatchError, MissingArtifactError
from pipeline.training.pretrained import import_crosscoder
from pipeline.training.stream import Stream
from pipeline.training.training import read_outcome
from tests.training.planted_rows import D_MODEL, N_ROWS, ROWS, MemorySource


def pretrained(path: Path, **changes: object) -> PretrainedConfig:
    values: dict = {
        "kind": "pretrained",
        "n_latents": None,
        "path": str(path),
        "repo": None,
        "revision": None,
        "subfolder": None,
        "activation_scale": None,
    }
    return PretrainedConfig(**{**values, **changes})


def stream() -> Stream:
    return Stream(MemorySource(ROWS), 64, N_ROWS, seed=0)


def write_reference(folder: Path, d_model: int = D_MODEL) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    weights = {
        "W_enc": torch.randn(2, d_model, 30, generator=generator),
        "W_dec": torch.randn(30, 2, d_model, generator=generator),
        "b_enc": torch.zeros(30),
        "b_dec": torch.zeros(2, d_model),
    }
    torch.save(weights, folder / "cc_weights.pt")


def test_a_reference_crosscoder_gets_factors_measured_on_the_experiments_rows(tmp_path: Path):
    write_reference(tmp_path / "theirs")
    import_crosscoder(pretrained(tmp_path / "theirs"), stream(), tmp_path / "ours", provenance={})
    crosscoder = load(tmp_path / "ours")
    x = crosscoder.normalise(torch.from_numpy(ROWS).view(torch.bfloat16))
    norms_M = x.norm(dim=-1).mean(0)
    torch.testing.assert_close(norms_M, torch.full((2,), D_MODEL**0.5), rtol=1e-4, atol=0)
    assert read_outcome(tmp_path / "ours").counts == {"n_rows": 0, "n_steps": 0}
    assert (tmp_path / "ours" / "training.csv").exists()


def test_given_factors_win(tmp_path: Path):
    write_reference(tmp_path / "theirs")
    config = pretrained(tmp_path / "theirs", activation_scale=[0.5, 0.25])
    import_crosscoder(config, stream(), tmp_path / "ours", provenance={})
    assert load(tmp_path / "ours").activation_scale.tolist() == [0.5, 0.25]


def test_our_own_layout_keeps_its_factors(tmp_path: Path):
    crosscoder = Crosscoder(2, D_MODEL, 10, kind="l1")
    crosscoder.activation_scale_M.copy_(torch.tensor([1.0, 1.0]))
    save(crosscoder, tmp_path / "theirs", provenance={})
    import_crosscoder(pretrained(tmp_path / "theirs"), stream(), tmp_path / "ours", provenance={})
    assert load(tmp_path / "ours").activation_scale.tolist() == [1.0, 1.0]


def test_another_width_is_refused_with_both(tmp_path: Path):
    write_reference(tmp_path / "theirs", d_model=8)
    with pytest.raises(MismatchError, match=r"\(2, 8\).*\(2, 16\)"):
        import_crosscoder(pretrained(tmp_path / "theirs"), stream(), tmp_path, provenance={})


def test_another_number_of_latents_than_configured_is_refused_with_both(tmp_path: Path):
    write_reference(tmp_path / "theirs")
    with pytest.raises(MismatchError, match=r"n_latents is 64, but .* has 30 latents"):
        import_crosscoder(
            pretrained(tmp_path / "theirs", n_latents=64), stream(), tmp_path, provenance={}
        )


def test_a_wrong_number_of_factors_is_refused(tmp_path: Path):
    write_reference(tmp_path / "theirs")
    config = pretrained(tmp_path / "theirs", activation_scale=[0.5])
    with pytest.raises(MismatchError, match="1 factors, expected 2"):
        import_crosscoder(config, stream(), tmp_path / "ours", provenance={})


def test_a_missing_folder_is_an_error(tmp_path: Path):
    with pytest.raises(MissingArtifactError, match="holds no crosscoder"):
        import_crosscoder(pretrained(tmp_path / "none"), stream(), tmp_path, provenance={})


def test_from_pretrained_reads_a_local_folder_and_its_subfolder(tmp_path: Path):
    write_reference(tmp_path / "blocks.14.hook_resid_pre")
    crosscoder = from_pretrained(tmp_path, subfolder="blocks.14.hook_resid_pre")
    assert (crosscoder.n_models, crosscoder.d_model, crosscoder.n_latents) == (2, D_MODEL, 30)
