"""The configuration refuses what is missing, unknown, ill-typed or out of range, and says how."""

from pathlib import Path

import pytest

from pipeline.config import Config, compose, load_config
from pipeline.config.compose import params_overrides
from pipeline.errors import ConfigError, MissingArtifactError

ROOT = Path(__file__).parents[2]
TINY = "+experiment=tiny"


@pytest.fixture(autouse=True)
def _in_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_one_seed_reseeds_every_section() -> None:
    config = compose([TINY, "seed=7"]).model_dump()
    for section in ("mix", "shuffle", "crosscoder", "evaluate"):
        assert config[section]["seed"] == 7, section
    assert config["models"]["base"]["seed"] == config["models"]["it"]["seed"] == 7


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("train.batch_rows=0", ["train.batch_rows", "0", "greater than"]),
        ("train.batch_rows=many", ["train.batch_rows", "many", "integer"]),
        ("train.batch_rows=1.5", ["train.batch_rows", "1.5"]),
        ("+train.momentum=0.9", ["train.momentum", "unknown"]),
        ("train.momentum=0.9", ["train.momentum"]),
        ("train.precision=fp8", ["train.precision", "fp8", "fp32"]),
        ("~train.batch_rows", ["train.batch_rows", "missing"]),
        ("++mix.shares={chat: null, wiki: 0.5}", ["mix.shares", "wiki", "pile"]),
        ("models.base.tokenizer.sources=[wiki]", ["models.base.tokenizer.sources", "wiki"]),
        ("models.it.of=other", ["models.it.of", "other"]),
        ("models.base.kind=magic", ["models.base", "magic", "trained"]),
        ("crosscoder=transformer", ["crosscoder"]),
        ("seed=-1", ["seed", "-1"]),
        ("seed=[", ["seed=["]),
    ],
)
def test_a_bad_value_is_refused_with_key_value_and_remedy(override: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        compose([TINY, override])
    for part in parts:
        assert part in str(refused.value)


def test_a_share_of_null_takes_a_source_out_of_the_mix_and_of_all_that_follows_it() -> None:
    config = compose([TINY, "++mix.shares={chat: null, recipes: 0.3, code: 0.2}"])
    assert config.mix.shares == {"pile": 0.5, "recipes": 0.3, "code": 0.2}
    assert config.source_names == ("code", "pile", "recipes")
    assert config.models.heldout.sources == ("pile", "recipes", "code")


def test_a_source_that_the_mix_leaves_out_may_stay_open() -> None:
    """Text alone, and no chats: nobody has to name files that nothing reads."""
    pair = ["+experiment=local", "hook_point.layer=1", "models.base.path=a", "models.it.path=b"]
    text_alone = [*pair, "++mix.shares={chat: null, pile: 1.0}"]
    assert list(compose([*text_alone, "sources.pile.paths=[a.jsonl]"]).sources) == ["pile"]
    with pytest.raises(ConfigError, match=r"^sources\.pile\.paths is missing"):
        compose(text_alone)


def test_the_order_of_shares_decides_nothing() -> None:
    turned = compose([TINY, 'mix.shares="${oc.create:{chat: 0.5, pile: 0.5}}"'])
    assert turned.source_names == compose([TINY]).source_names == ("pile", "chat")


def test_all_bad_values_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        compose([TINY, "train.batch_rows=0", "hook_point.layer=-1"])
    assert "train.batch_rows" in str(refused.value)
    assert "hook_point.layer" in str(refused.value)


def test_an_unknown_experiment_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"gemna.*did you mean gemma.*tiny"):
        compose(["+experiment=gemna"])


def test_no_experiment_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"add \+experiment=NAME.*tiny"):
        compose(["seed=3"])


def test_models_may_not_train_on_held_out_documents() -> None:
    with pytest.raises(ConfigError, match="held-out"):
        compose([TINY, "mix.heldout_fraction=0.2", "models.heldout.fraction=0.1"])


def test_a_plant_of_nothing_is_refused() -> None:
    only = "plant.groups={mine: {n: 0}}"
    with pytest.raises(ConfigError, match="every group has n = 0"):
        compose(["+experiment=planted", "~plant.groups", f"+{only}"])


def test_a_missing_composed_yaml_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingArtifactError, match="dvc repro compose"):
        load_config([])


@pytest.mark.parametrize("text", ["experimnt: tiny", "experiment: tiny\nseed: 3", "- tiny"])
def test_params_yaml_holds_two_keys_only(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ConfigError, match="experiment and overrides"):
        params_overrides()


def test_overrides_in_params_yaml_are_split_like_a_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("experiment: tiny\noverrides: \"a=1 'b=x y'\"")
    assert params_overrides() == ["+experiment=tiny", "a=1", "b=x y"]


def test_the_published_recipe_is_reproduced_value_for_value() -> None:
    config = compose(["+experiment=gemma"])
    assert config.hook_point.layer == 14
    assert config.models.base.model_dump()["repo"] == "google/gemma-2-2b"
    assert config.models.it.model_dump()["repo"] == "google/gemma-2-2b-it"
    assert config.sources["pile"].model_dump()["dataset"] == "monology/pile-uncopyrighted"
    assert config.sources["chat"].model_dump()["dataset"] == "lmsys/lmsys-chat-1m"
    assert config.mix.sequence_length_tokens == 1024
    assert config.train.n_rows == 400_000_000
    crosscoder, train = config.crosscoder.model_dump(), config.train
    assert crosscoder["kind"] == "l1"
    assert crosscoder["n_latents"] == 16_384
    assert crosscoder["sparsity_coefficient"] == 2.0
    assert crosscoder["sparsity_warmup_fraction"] == 0.05
    assert crosscoder["decoder_init_norm"] == 0.08
    assert crosscoder["seed"] == 49
    assert (train.batch_rows, train.learning_rate) == (4096, 5e-5)
    assert (train.beta1, train.beta2) == (0.9, 0.999)
    assert (train.lr_decay_fraction, train.gradient_clip) == (0.2, 1.0)
    assert train.precision == "fp32"


def test_no_schema_field_has_a_default() -> None:
    def check(model: type) -> None:
        for name, field in model.model_fields.items():  # type: ignore[attr-defined]
            assert field.is_required(), f"{model.__name__}.{name} has a second home"

    check(Config)
    for field in Config.model_fields.values():
        if hasattr(field.annotation, "model_fields"):
            check(field.annotation)  # type: ignore[arg-type]


def test_a_scatter_seed_must_be_the_seed_of_the_shuffle() -> None:
    assert compose(["+experiment=gemma", "shuffle.seed=3"]).dump.scatter_seed == 3
    with pytest.raises(ConfigError, match=r"dump\.scatter_seed \(4\) must be shuffle\.seed \(49\)"):
        compose(["+experiment=tiny", "dump.scatter_seed=4"])
