"""The rule of the verdicts, as in conf/."""

from pipeline.analysis.verdicts.table import Rule

RULE = Rule(
    max_eps=0.2,
    max_r=0.5,
    max_turned=0.5,
    min_active=20,
    min_effective=4,
    max_false_discovery_rate=0.05,
)
