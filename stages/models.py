"""Materialise and pin the model pair and its tokenizer.

    python -m stages.models                 # composed.yaml, as `dvc repro` does
    python -m stages.models +experiment=tiny models.it.n_steps=200

reads   hub or local models; the sources, for models that are trained or tuned here
writes  data/models/: models.json (where each model lives, digests), start.json (what every sequence
        starts with), template.json (how conversations are written), tokenizer/, base/ and it/
        where made here; results/models.json: shapes, held-out losses before and after
cost    `tiny`: a minute or two on two cores; a hub or local pair: hashing the files, about 1 GB/s;
        killed and run again, training goes on from its last checkpoint
"""

from pipeline.artifacts import Build, read_manifest
from pipeline.config import Config
from pipeline.models.start import read_start
from pipeline.models.template import read_template
from pipeline.results import not_applicable
from pipeline.stage import MODELS, Stage, run, tell

STAGE = Stage(
    name="models",
    sections=("models", "sources"),
    local_files=("models", "sources"),
    outputs={"models": MODELS},
    results=("models.json",),
    format_version=3,
    resumes=True,
    memory_keys=("models.base.micro_batch_sequences", "models.it.micro_batch_sequences"),
)

SAME_WEIGHTS = (
    "models.base and models.it have the same weights, so nothing can differ between them: name the "
    "fine-tuned model in models.it, unless a null pair is meant"
)
NO_MODELS = not_applicable("the experiment has no models (models.base.kind: none)")


def main(config: Config) -> None:
    from pipeline.models.records import have_same_weights, is_current, read_records

    with STAGE.build(config, "models") as build:
        if not config.has_models:
            if not build.complete:
                build.publish(counts={}, facts={"figures": NO_MODELS})
        elif not (build.complete and is_current(MODELS)):
            make_pair(config, build)
    figures = read_manifest(MODELS).facts["figures"]
    STAGE.publish_results(config, {"models.json": figures})
    if config.has_models:
        tell(f"models: every sequence starts with {read_start(MODELS)}\n")
        if config.models.template != "plain":
            tell(f"models: conversations are in the template {read_template(MODELS)}\n")
        if have_same_weights(read_records(MODELS)):
            tell(f"warning: {SAME_WEIGHTS}\n")
        for warning in figures["warnings"]:
            tell(f"warning: {warning}\n")


def make_pair(config: Config, build: Build) -> None:
    """Find, train or tune both models in the build's work folder, and publish it."""
    from pipeline.models.figures import pair_figures
    from pipeline.models.materialise import Workshop, materialise
    from pipeline.models.pair import reading_of
    from pipeline.runtime import resolve_device, set_threads

    set_threads(config.runtime.n_threads)
    shop = Workshop(
        work=build.work,
        models=config.models,
        sources=config.sources,
        reading=reading_of(config.hook_point, config.mix),
        device=resolve_device(config.runtime.device),
    )
    found = materialise(shop)
    build.publish(counts={}, facts={"figures": pair_figures(shop, found)})


if __name__ == "__main__":
    run(STAGE, main)
