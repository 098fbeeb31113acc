"""Compose `conf/` with Hydra, and turn what is wrong with it into one clear message."""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from pipeline.config.overrides import (
    check_experiment,
    check_readable,
    chosen_experiments,
    missing_values,
    split_overrides,
    uncomposable,
)
from pipeline.config.refused import check_sizes, refused, shown
from pipeline.config.schema import Config
from pipeline.config.yaml_files import UNREADABLE, check_mappings, read_yaml
from pipeline.errors import ConfigError, MissingArtifactError

if TYPE_CHECKING:
    from omegaconf import DictConfig

CONF = Path("conf")
COMPOSED = Path("composed.yaml")
PARAMS = Path("params.yaml")
PARAMS_KEYS = {"experiment", "overrides"}
PARAMS_EXAMPLES = {"experiment": "tiny", "overrides": '"seed=3 train.batch_rows=512"'}
HEADER = "# Written by `dvc repro` from params.yaml and conf/. Edit those, not this file.\n"
DIGEST_LINE = "# sha256 of what follows: "


def experiments() -> list[str]:
    """Names of the experiments in `conf/experiment/`."""
    return sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


def params_overrides() -> list[str]:
    """The Hydra overrides that `params.yaml` stands for: the experiment and its overrides."""
    params: Any = read_yaml(PARAMS)
    if not isinstance(params, dict) or "experiment" not in params:
        raise ConfigError(
            f"{PARAMS} must hold the keys experiment and overrides, found {shown(params)}: name an "
            f"experiment, such as experiment: {experiments()[0] if experiments() else 'tiny'}"
        )
    if unknown := sorted(set(params) - PARAMS_KEYS):
        raise ConfigError(
            f"{PARAMS} must hold the keys experiment and overrides alone, found {unknown[0]} "
            f"(value {shown(params[unknown[0]])}), which would change nothing: put it into "
            f"overrides (dvc exp run -S 'overrides=\"{_as_override(unknown[0], params)}\"')"
        )
    name, overrides = params["experiment"], params.get("overrides")
    for key, value in (("experiment", name), ("overrides", overrides or "")):
        if not isinstance(value, str):
            raise ConfigError(
                f"{PARAMS}: {key} is {shown(value)}, expected one text, such as "
                f"{key}: {PARAMS_EXAMPLES[key]}: write it so"
            )
    return [f"+experiment={name}", *split_overrides(overrides or "")]


def _as_override(key: str, params: Mapping[str, Any]) -> str:
    """The override that a key of `params.yaml` was meant to be."""
    value: Any = params[key]
    while isinstance(value, dict) and len(value) == 1:
        name, value = next(iter(value.items()))
        key = f"{key}.{name}"
    return f"{key}={'...' if isinstance(value, dict) else value}"


def compose(overrides: Sequence[str]) -> Config:
    """Compose `conf/config.yaml` with `overrides`, resolve and check it.

    Raises ConfigError for unknown experiments, overrides that do not parse, and values that the
    schema refuses.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if not CONF.is_dir():
        raise ConfigError(f"{CONF}/ not found in {Path.cwd()}: run in the root of the repository")
    check_experiment(overrides, experiments())
    check_readable(overrides)
    try:
        with initialize_config_dir(str(CONF.absolute()), version_base="1.3"):
            composed = hydra_compose("config", overrides=list(overrides))
        take_out(composed, "mix.shares")
        leave_out_unused_sources(composed)
        check_name(composed, overrides)
        missing = sorted(OmegaConf.missing_keys(composed))
        plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=not missing)
    except (HydraException, OmegaConfBaseException, *UNREADABLE) as error:
        check_mappings(_files())
        raise uncomposable(error, overrides) from error
    if missing:
        raise missing_values(missing)
    try:
        return parse(plain)
    except ConfigError:
        check_mappings(_files_of_words())
        raise


def take_out(composed: "DictConfig", key: str) -> None:
    """Remove the entries of a mapping that are null: Hydra merges mappings, so that one which a
    default gives could not go otherwise. What refers to the mapping never sees them."""
    from omegaconf import DictConfig, OmegaConf, open_dict

    mapping = OmegaConf.select(composed, key)
    if isinstance(mapping, DictConfig):
        with open_dict(composed):
            for name in list(mapping):
                if not OmegaConf.is_missing(mapping, name) and mapping[name] is None:
                    del mapping[name]


def check_name(composed: "DictConfig", overrides: Sequence[str]) -> None:
    """Raise ConfigError where the file of the chosen experiment does not say its name: results of
    two experiments would stand under one."""
    from omegaconf import OmegaConf

    (chosen,) = chosen_experiments(overrides)
    name = chosen.partition("=")[2]
    if OmegaConf.is_missing(composed, "experiment") or (found := composed["experiment"]) == name:
        return
    file = CONF / "experiment" / f"{name}.yaml"
    if isinstance(found, str):
        raise ConfigError(
            f"{file} says experiment: {found}, expected experiment: {name}: write it into the file"
        )
    raise ConfigError(
        f"{file} does not begin with the line `# @package _global_`, so that its keys count for "
        "nothing: write the line"
    )


def leave_out_unused_sources(composed: "DictConfig") -> None:
    """Remove the sources that have no share in the mix and that nobody has filled in, such as the
    chats of `sources: files` where text alone is read."""
    from omegaconf import DictConfig, OmegaConf, open_dict

    sources, shares = (OmegaConf.select(composed, key) for key in ("sources", "mix.shares"))
    if isinstance(sources, DictConfig) and isinstance(shares, DictConfig):
        with open_dict(composed):
            for name in [name for name in sources if name not in shares]:
                if OmegaConf.missing_keys(sources[name]):
                    del sources[name]


def _files() -> list[Path]:
    return sorted(CONF.rglob("*.yaml"))


def _files_of_words() -> list[Path]:
    """Files without a colon: to Hydra one of a bare word is an empty one. What it has read besides
    are mappings, and reading all of `conf/` again would take as long as composing."""
    found: list[Path] = []
    for file in _files():
        with suppress(OSError):
            if ":" not in file.read_text(errors="replace"):
                found.append(file)
    return found


def parse(plain: Any) -> Config:
    """The typed configuration of plain data; ConfigError lists each key that is refused."""
    check_sizes(plain)
    try:
        return Config.model_validate(plain)
    except ValidationError as error:
        raise refused(error) from error


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
    return parse(read_composed())


def composed_text(config: Config) -> bytes:
    """The text of `composed.yaml`: a header with the digest of the rest, then every value."""
    from omegaconf import OmegaConf

    text = OmegaConf.to_yaml(OmegaConf.create(config.model_dump(mode="json")))
    return f"{HEADER}{DIGEST_LINE}{_digest(text)}\n{text}".encode()


def read_composed() -> Any:
    """The plain data of `composed.yaml`. ConfigError where it was edited or is not compose's.

    The digest tells that it is as compose wrote it, so that libyaml reads it at once: every stage
    waits for this.
    """
    check_unedited()
    text = COMPOSED.read_text()
    if DIGEST_LINE not in text:
        raise ConfigError(f"{COMPOSED} is not of this version: run `dvc repro compose`")
    return yaml.load(text, Loader=yaml.CSafeLoader)


def check_unedited() -> None:
    """Raise ConfigError where somebody edited `composed.yaml`: such a change would be in force
    until the next `dvc repro` alone, and an experiment would record it as if it had been."""
    if not COMPOSED.exists():
        return
    _, found, rest = COMPOSED.read_text(errors="replace").partition(DIGEST_LINE)
    written, _, text = rest.partition("\n")
    if found and written != _digest(text):
        raise ConfigError(
            f"{COMPOSED} was edited (its digest is {_digest(text)[:8]}, compose wrote "
            f"{written[:8]}), expected it as written: put the change into conf/ or into overrides "
            f"of {PARAMS} (dvc exp run -S 'overrides=\"KEY=VALUE\"'), remove {COMPOSED} and run "
            "`dvc repro`"
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
