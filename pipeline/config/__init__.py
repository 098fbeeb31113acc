"""Configuration: composed by Hydra from `conf/`, checked by typed schemas, read by every stage."""

from pipeline.config.compose import COMPOSED, compose, experiments, load_config, parse
from pipeline.config.schema import Config

__all__ = ["COMPOSED", "Config", "compose", "experiments", "load_config", "parse"]
