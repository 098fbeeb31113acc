"""Put the figures of this experiment beside those of other layers of the same dump.

    python -m stages.layers                     # composed.yaml, as `dvc repro` does

reads   results/evaluation.json, results/latent_scaling.json, results/changes.json, and
        results/layers.json as the experiments before this one have left it
writes  results/layers.json: a row per layer of hook_point.layers that has been run, all made alike
        but for the layer
cost    nothing to speak of; says that it does not apply where one layer is read
"""

from pipeline.config import Config
from pipeline.results import not_applicable
from pipeline.stage import EVALUATION, LATENT_SCALING, LISTED, RESULTS, Stage, run

STAGE = Stage(
    name="layers",
    sections=("hook_point",),
    inputs={"evaluation": EVALUATION, "latent_scaling": LATENT_SCALING, "changes": LISTED},
    results=("layers.json",),
)


def main(config: Config) -> None:
    manifests = [STAGE.input(config, name) for name in STAGE.inputs]
    result = not_applicable("hook_point.layers names one layer at most")
    if len(config.hook_point.layers) > 1:
        from pipeline.analysis.layers.run import compared

        result = compared(RESULTS, config.hook_point, manifests)
    STAGE.publish_results(config, {"layers.json": result})


if __name__ == "__main__":
    run(STAGE, main)
