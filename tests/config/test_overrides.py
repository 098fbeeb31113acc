"""What is wrong with overrides is said in one line: key, found, expected, remedy; never Hydra's."""

import runpy
from pathlib import Path

import pytest

from pipeline.config import compose
from pipeline.config.compose import params_overrides
from pipeline.config.overrides import split_overrides
from pipeline.errors import ConfigError
from stages.validation import configuration

ROOT = Path(__file__).parents[2]
TINY = "+experiment=tiny"
OF_HYDRA = ("override experiment:", "full_key", "object_type", "append to your", "--multirun")


@pytest.fixture(autouse=True)
def _in_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "+experiment=smoke",
            "experiment is chosen 2 times (+experiment=tiny +experiment=smoke), ",
        ),
        ("foo.bar=1", "foo.bar is no key of conf/ (found 'foo.bar=1'): mend its spelling or "),
        (
            "plant.groups.it_only.rate_low=0.01",
            "plant.groups.it_only.rate_low is not in conf/ (found 'plant.groups.it_only.rate_low="
            "0.01'): if plant.groups.it_only takes it from plant.feature, add the plus, ",
        ),
        ("~train.foo", "train.foo is no key of conf/ that can go (found '~train.foo'): mend "),
        (
            "+train.n_rows=1",
            "train.n_rows is in conf/ already (found '+train.n_rows=1'), expected ",
        ),
        (
            "+plant=planted",
            "plant is in conf/ already (found '+plant=planted'), expected plant=NAME: ",
        ),
        ("+plant=none", "plant is in conf/ already (found '+plant=none'), expected plant=NAME: "),
        ("frontier=nope", "frontier is 'nope', expected one of default, short: change it in "),
        ("seed=???", "seed is missing, expected a value: add seed=VALUE to the overrides"),
        (
            "'models.it.path=my model'",
            "override \"'models.it.path=my model'\" begins with a quote, expected KEY=VALUE: put ",
        ),
        ("seeds", "override 'seeds' cannot be read, expected KEY=VALUE: "),
        ("seed=1,2", "override 'seed=1,2' gives several values, expected one: "),
        (
            "train=3",
            "train is a group of conf/ and takes the name of a file there",
        ),
    ],
)
def test_a_refused_override_is_named_with_what_is_expected(override: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compose([TINY, override])
    assert str(refused.value).startswith(said)
    assert not [words for words in OF_HYDRA if words in str(refused.value)]


def test_every_value_that_an_experiment_leaves_open_is_named() -> None:
    with pytest.raises(ConfigError) as refused:
        compose(["+experiment=local", "hook_point.layer=3", "models.base.path=/my/base"])
    assert [line.split()[0] for line in str(refused.value).splitlines()] == [
        "models.it.path",
        "sources.chat.paths",
        "sources.pile.paths",
    ]
    assert "add models.it.path=VALUE to the overrides" in str(refused.value)


def test_an_experiment_without_its_plus_is_told_to_add_it() -> None:
    with pytest.raises(
        ConfigError, match=r"found experiment=tiny, expected \+experiment=tiny: add"
    ):
        compose(["experiment=tiny"])


@pytest.mark.parametrize("override", [TINY, "experiment=tiny"])
def test_the_proof_takes_no_experiment(override: str) -> None:
    with pytest.raises(ConfigError) as refused:
        configuration([override, "validation=short"])
    assert str(refused.value).startswith(f"experiment: found {override}, expected none")
    assert configuration(["validation=short"]).experiment == "planted"


@pytest.mark.parametrize(
    ("stage", "override", "said"),
    [
        ("validation", TINY, "experiment: found +experiment=tiny, expected none"),
        ("edit_study", TINY, "experiment: found +experiment=tiny, expected none"),
        ("frontier", "+experiment=local", "hook_point.layer is missing, expected a value"),
        ("seed_runs", "+experiment=local", "hook_point.layer is missing, expected a value"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_a_stage_ends_with_the_message_and_status_2(
    stage: str,
    override: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", [stage, override])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"stages.{stage}", run_name="__main__")
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {said}")


@pytest.mark.parametrize(
    ("text", "overrides"),
    [
        ("", []),
        ("a=1  b=2\n", ["a=1", "b=2"]),
        ("a=1 'b=x y'", ["a=1", "b=x y"]),
        ("revision='20231113'", ["revision='20231113'"]),
        ("+g.mine={n: 5, cosine: 0.2} l=[1, 2]", ["+g.mine={n: 5, cosine: 0.2}", "l=[1, 2]"]),
        ("'+g.mine={n: 5, cosine: 0.2}'", ["+g.mine={n: 5, cosine: 0.2}"]),
        ("a=\"it's\" b='say \\'x\\' y'", ['a="it\'s"', "b='say \\'x\\' y'"]),
    ],
)
def test_overrides_part_at_spaces_outside_of_quotes_and_brackets(
    text: str, overrides: list[str]
) -> None:
    assert split_overrides(text) == overrides


def test_text_in_quotes_stays_text_on_its_way_through_params_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "models=gemma_2_2b models.base.revision='20231113'"
    (tmp_path / "params.yaml").write_text(f'experiment: tiny\noverrides: "{text}"\n')
    with monkeypatch.context() as there:
        there.chdir(tmp_path)
        overrides = params_overrides()
    assert compose(overrides).models.base.model_dump()["revision"] == "20231113"
