"""Configuration: composed by Hydra from `conf/`, checked by typed schemas, read by every stage.

compose.py      conf/ + overrides -> `Config`; `load_config`: what a stage reads
schema.py       `Config`, the whole: one typed section per concern, and the checks that span several
section.py      `Section`: no unknown keys, no coercion, no default; and types that many share
overrides.py, refused.py, yaml_files.py   what is wrong with what a user wrote, a line each
keys.py         what a refused key was meant to be, and what each key means (for --help)

The other files hold sections: `models` (with the hook point and the dump), `edits`, `text`,
`crosscoder` (with the training), `analysis`, `causal` (with the baselines, parting and steering),
`changes`, `explain`, `plant`, and `validation` (commands outside the graph).
"""

from pipeline.config.compose import COMPOSED, compose, experiments, load_config, parse
from pipeline.config.schema import Config

__all__ = ["COMPOSED", "Config", "compose", "experiments", "load_config", "parse"]
