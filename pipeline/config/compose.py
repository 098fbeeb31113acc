"""Compose `conf/` with Hydra, and turn what is wrong with it into one clear message."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from pipeline.config.overrides import (
    check_experiment,
    check_readable,
    missing_values,
    uncomposable,
)
from pipeline.config.schema import Config
from pipeline.errors import ConfigError, MissingArtifactError

CONF = Path("conf")
COMPOSED = Path("composed.yaml")
PARAMS = Path("params.yaml")


def experiments() -> list[str]:
    """Names of the experiments in `conf/experiment/`."""
    return sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


def params_overrides() -> list[str]:
    """The Hydra overrides that `params.yaml` stands for: the experiment and its overrides."""
    params: Any = OmegaConf.to_container(OmegaConf.load(PARAMS))
    unknown = set(params) - {"experiment", "overrides"} if isinstance(params, dict) else {"?"}
    if unknown or "experiment" not in params:
        raise ConfigError(
            f"{PARAMS} must hold the keys experiment and overrides, found {params!r}: "
            "move every other setting to conf/ or into overrides"
        )
    return [f"+experiment={params['experiment']}", *shlex.split(params.get("overrides") or "")]


def compose(overrides: Sequence[str]) -> Config:
    """Compose `conf/config.yaml` with `overrides`, resolve and check it.

    Raises ConfigError for unknown experiments, overrides that do not parse, and values that the
    schema refuses.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException

    check_experiment(overrides, experiments())
    check_readable(overrides)
    try:
        with initialize_config_dir(str(CONF.absolute()), version_base="1.3"):
            composed = hydra_compose("config", overrides=list(overrides))
        missing = sorted(OmegaConf.missing_keys(composed))
        plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=not missing)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise uncomposable(error, overrides) from error
    if missing:
        raise missing_values(missing)
    return parse(plain)


def parse(plain: Any) -> Config:
    """The typed configuration of plain data; ConfigError lists each key that is refused."""
    try:
        return Config.model_validate(plain)
    except ValidationError as error:
        lines = [_explain(problem) for problem in error.errors()]
        raise ConfigError("\n       ".join(lines)) from error


_MODEL_KINDS = {"hub", "local", "trained", "tuned", "none"}
_SOURCE_KINDS = {"generated", "files", "hub", "triggered"}
_CROSSCODER_KINDS = {"l1", "batch_topk", "dsf", "jumprelu", "pretrained"}
_BACKGROUND_KINDS = {"synthetic", "pair"}
_UNION_TAGS = _MODEL_KINDS | _SOURCE_KINDS | _CROSSCODER_KINDS | _BACKGROUND_KINDS


def _explain(problem: Any) -> str:
    """One line for one refused key: key, value, expectation, remedy."""
    key = ".".join(str(part) for part in problem["loc"] if part not in _UNION_TAGS)
    value = problem["input"]
    match problem["type"]:
        case "missing":
            return f"{key} is missing: set it in conf/ or add {key}=VALUE to the overrides"
        case "extra_forbidden":
            return f"{key} is unknown (value {value!r}): remove it or mend its spelling in conf/"
        case "value_error":
            message = problem["msg"].removeprefix("Value error, ")
            return message if not key or message.startswith(key) else f"{key}: {message}"
        case "union_tag_invalid" | "union_tag_not_found":
            allowed = problem["ctx"].get("expected_tags", "one of its kinds")
            found = problem["ctx"].get("tag", "none")
            return f"{key}.kind is {found!r}, expected one of {allowed}: change it in conf/"
        case _:
            expected = problem["msg"].removeprefix("Input ").lower()
            return f"{key} is {value!r}, but it {expected}: change it in conf/ or in the overrides"


def load_config(overrides: Sequence[str]) -> Config:
    """The configuration of a stage's command line.

    Without overrides, `composed.yaml`; with overrides, `conf/` composed with them.
    """
    if overrides:
        return compose(overrides)
    if not COMPOSED.exists():
        raise MissingArtifactError(
            f"{COMPOSED} not found: run `dvc repro compose`, or name an experiment, such as "
            "+experiment=tiny"
        )
    return parse(OmegaConf.to_container(OmegaConf.load(COMPOSED)))
