"""Resolve `conf/` for the experiment that `params.yaml` names.

    python -m stages.compose

reads   params.yaml (experiment, overrides), conf/
writes  composed.yaml: every value of this run, checked; the only configuration later stages read.
        One that was edited is refused, as its changes would be lost and yet be recorded
cost    a second
"""

from pipeline import artifacts
from pipeline.command import command, tell
from pipeline.config import COMPOSED, compose
from pipeline.config.compose import check_unedited, composed_text, params_overrides


def main(typed: list[str]) -> None:
    check_unedited()
    config = compose(typed or params_overrides())
    text = composed_text(config)
    if COMPOSED.exists() and COMPOSED.read_bytes() == text:
        tell(f"compose: nothing to do, {COMPOSED} as configured\n")
        return
    artifacts.write_bytes(COMPOSED, text)
    tell(f"compose: wrote {COMPOSED} of experiment {config.experiment}\n")


if __name__ == "__main__":
    command("compose", main)
