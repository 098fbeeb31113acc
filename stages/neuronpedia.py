"""Write the dashboards in the JSON of SAEDashboard, for Neuronpedia's converter.

    python -m stages.neuronpedia FOLDER         # a folder that does not exist yet

reads   results/dashboards
writes  FOLDER/base/batch-N.json and FOLDER/it/batch-N.json: the same latents, once as features of
        each model
cost    seconds. No stage of the graph: nothing depends on it
"""

from pathlib import Path
from typing import Any

from pipeline.artifacts import Manifest, read_manifest
from pipeline.command import command
from pipeline.errors import ConfigError, MissingArtifactError
from pipeline.paths import expanded
from pipeline.stage import DASHBOARDS


def main(typed: list[str]) -> None:
    from pipeline.analysis.dashboards.file import read_dashboards
    from pipeline.analysis.dashboards.neuronpedia import write_batches
    from pipeline.labels import MODELS

    folder = target(typed)
    manifest = read_manifest(DASHBOARDS)
    for model in MODELS:
        n = write_batches(
            folder / model, read_dashboards(DASHBOARDS), model=model, head=head(manifest, model)
        )
        print(f"{folder / model}: {n:,} features")


def target(typed: list[str]) -> Path:
    """The folder that was named; a ConfigError where it is there already or was not named."""
    if len(typed) != 1:
        raise ConfigError(
            f"{len(typed)} arguments given, expected one: the folder to write, such as neuronpedia"
        )
    folder = expanded(typed[0])
    if folder.exists():
        raise ConfigError(f"{folder} is there already: name a folder that does not exist yet")
    return folder


def head(manifest: Manifest, model: str) -> dict[str, Any]:
    """What every batch repeats, from what the dashboards were made with.

    The layer is that of the hook point, `hidden_states[layer]`, which is what enters block `layer`
    (resid_pre).
    """
    if not manifest.files:
        raise MissingArtifactError(
            f"{DASHBOARDS} holds no dashboards ({manifest.facts.get('reason')}): nothing to write"
        )
    spec, crosscoder = manifest.lineage["models"][model], manifest.lineage["crosscoder"]
    source = spec.get("repo") or spec.get("path") or model
    return {
        "model_id": Path(source).name.lower(),
        "layer": manifest.lineage["hook_point"]["layer"],
        "sae_set": f"crosscoder-{crosscoder['kind']}",
        "sae_id_suffix": None,
    }


if __name__ == "__main__":
    command("neuronpedia", main)
