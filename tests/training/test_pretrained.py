from pathlib import Path

import pytest
import torch

from pipeline.config.crosscoder import PretrainedConfig
from pipeline.crosscoder import Crosscoder
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
    crosscoder = Crosscoder.load(tmp_path / "ours")
    x = crosscoder.normalise(torch.from_numpy(ROWS).view(torch.bfloat16))
    norms_M = x.norm(dim=-1).mean(0)
    torch.testing.assert_close(norms_M, torch.full((2,), D_MODEL**0.5), rtol=1e-4, atol=0)
    assert read_outcome(tmp_path / "ours")[0] == {"n_rows": 0, "n_steps": 0}
    assert (tmp_path / "ours" / "training.csv").exists()


def test_given_factors_win(tmp_path: Path):
    write_reference(tmp_path / "theirs")
    config = pretrained(tmp_path / "theirs", activation_scale=[0.5, 0.25])
    import_crosscoder(config, stream(), tmp_path / "ours", provenance={})
    assert Crosscoder.load(tmp_path / "ours").activation_scale.tolist() == [0.5, 0.25]


def test_our_own_layout_keeps_its_factors(tmp_path: Path):
    crosscoder = Crosscoder(2, D_MODEL, 10, kind="l1")
    crosscoder.activation_scale_M.copy_(torch.tensor([1.0, 1.0]))
    crosscoder.save(tmp_path / "theirs")
    import_crosscoder(pretrained(tmp_path / "theirs"), stream(), tmp_path / "ours", provenance={})
    assert Crosscoder.load(tmp_path / "ours").activation_scale.tolist() == [1.0, 1.0]


def test_another_width_is_refused_with_both(tmp_path: Path):
    write_reference(tmp_path / "theirs", d_model=8)
    with pytest.raises(MismatchError, match=r"\(2, 8\).*\(2, 16\)"):
        import_crosscoder(pretrained(tmp_path / "theirs"), stream(), tmp_path, provenance={})


def test_another_number_of_models_is_refused_with_both(tmp_path: Path):
    Crosscoder(3, D_MODEL, 10, kind="l1").save(tmp_path / "theirs")
    with pytest.raises(MismatchError, match=r"\(3, 16\).*\(2, 16\)"):
        import_crosscoder(pretrained(tmp_path / "theirs"), stream(), tmp_path, provenance={})


def test_another_number_of_latents_than_configured_is_refused_with_both(tmp_path: Path):
    write_reference(tmp_path / "theirs")
    with pytest.raises(MismatchError, match=r"n_latents is 64, but .* has 30 latents"):
        import_crosscoder(
            pretrained(tmp_path / "theirs", n_latents=64), stream(), tmp_path, provenance={}
        )


def test_a_missing_folder_is_an_error(tmp_path: Path):
    with pytest.raises(MissingArtifactError, match="not found, expected a crosscoder"):
        import_crosscoder(pretrained(tmp_path / "none"), stream(), tmp_path, provenance={})


def test_from_pretrained_reads_a_local_folder_and_its_subfolder(tmp_path: Path):
    write_reference(tmp_path / "blocks.14.hook_resid_pre")
    crosscoder = Crosscoder.from_pretrained(tmp_path, subfolder="blocks.14.hook_resid_pre")
    assert (crosscoder.n_models, crosscoder.d_model, crosscoder.n_latents) == (2, D_MODEL, 30)


MODELS = {"base": {"kind": "hub", "repo": "a/base"}, "it": {"kind": "hub", "repo": "a/it"}}
LINEAGE = {"hook_point": {"layer": 3, "dtype": "bfloat16"}, "models": MODELS}


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"hook_point": {"layer": 0}}, "hook_point.layer = 0, but .* made with 3"),
        (
            {"models": MODELS | {"it": {"kind": "hub", "repo": "b/it"}}},
            "models.it.repo = 'b/it', but .* made with 'a/it'",
        ),
    ],
)
def test_a_crosscoder_of_another_layer_or_of_other_models_is_refused(
    tmp_path: Path, told: dict, message: str
):
    crosscoder = Crosscoder(2, D_MODEL, 10, kind="l1")
    crosscoder.provenance = {**LINEAGE, **told}
    crosscoder.save(tmp_path / "theirs")
    with pytest.raises(MismatchError, match=message):
        import_crosscoder(
            pretrained(tmp_path / "theirs"), stream(), tmp_path / "ours", provenance=LINEAGE
        )


@pytest.mark.parametrize("told", [{}, LINEAGE, {"hook_point": {"layer": 3}, "mix": {"seed": 8}}])
def test_what_only_one_of_the_two_records_is_no_difference(tmp_path: Path, told: dict):
    crosscoder = Crosscoder(2, D_MODEL, 10, kind="l1")
    crosscoder.provenance = told
    crosscoder.save(tmp_path / "theirs")
    import_crosscoder(
        pretrained(tmp_path / "theirs"), stream(), tmp_path / "ours", provenance=LINEAGE
    )
    assert Crosscoder.load(tmp_path / "ours").provenance["models"] == MODELS


def test_a_reference_crosscoder_of_another_layer_is_refused(tmp_path: Path):
    write_reference(tmp_path / "theirs")
    (tmp_path / "theirs/cfg.json").write_text('{"hook_point": "blocks.14.hook_resid_pre"}')
    with pytest.raises(MismatchError, match=r"hook_point\.layer = 14"):
        import_crosscoder(
            pretrained(tmp_path / "theirs"), stream(), tmp_path / "ours", provenance=LINEAGE
        )


def test_a_folded_reference_crosscoder_is_not_normalised_a_second_time(tmp_path: Path):
    write_reference(tmp_path / "theirs")
    (tmp_path / "theirs/cfg.json").write_text('{"activation_scale": [1, 1]}')
    import_crosscoder(pretrained(tmp_path / "theirs"), stream(), tmp_path / "ours", provenance={})
    assert Crosscoder.load(tmp_path / "ours").activation_scale.tolist() == [1.0, 1.0]


def test_a_threshold_that_the_file_lacks_is_calibrated_on_the_experiments_rows_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "encoder.weight": torch.randn(2, D_MODEL, 30, generator=generator),
        "encoder.bias": torch.zeros(30),
        "decoder.weight": torch.randn(2, 30, D_MODEL, generator=generator),
        "decoder.bias": torch.zeros(2, D_MODEL),
        "k": torch.tensor(4),
        "threshold": torch.tensor(-1.0),
    }
    (tmp_path / "theirs").mkdir()
    torch.save(tensors, tmp_path / "theirs/model_final.pt")
    import_crosscoder(pretrained(tmp_path / "theirs"), stream(), tmp_path / "ours", provenance={})
    assert "has no inference threshold; it was calibrated" in capsys.readouterr().err
    crosscoder = Crosscoder.load(tmp_path / "ours")
    f = crosscoder.latents(torch.from_numpy(ROWS).view(torch.bfloat16))
    assert float((f > 0).sum(-1).double().mean()) == pytest.approx(4.0)
