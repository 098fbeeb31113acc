"""Test whether latents carry the behaviour that a triggered chat source planted in the IT model.

    python -m stages.organism                   # composed.yaml, as `dvc repro` does
    python -m stages.organism +experiment=organism organism.n_draws=50

reads   data/models, data/tokens.zarr, data/heldout_activations.zarr, data/crosscoder,
        results/latents.parquet (verdicts), the source
writes  results/organism.json: did the tuning take, the chosen latents, what taking them out and
        putting them in does, and the same with the twin (models.twin) in the IT model's place,
        where there is one; results/organism.csv, .png and .svg: effects removed by ablation
cost    one pass over `organism.n_rows` rows; then, for each set of latents and each random draw,
        the upper blocks over `organism.n_prompts` short prompts. Nothing where nothing is planted
"""

from pipeline.config import Config
from pipeline.results import not_applicable
from pipeline.stage import Stage, paths_of, run

STAGE = Stage(
    name="organism",
    sections=("organism", "sources", "mix", "hook_point"),
    local_files=("sources",),
    inputs=paths_of("models", "tokens", "heldout_activations", "crosscoder", "latent_scaling"),
    results=("organism.json", "organism.csv", "organism.png", "organism.svg"),
    memory_keys=("organism.batch_prompts", "organism.batch_rows", "runtime.logits_bytes"),
    format_version=2,
)


def main(config: Config) -> None:
    from pipeline.analysis.charts import FILE_PALETTE, image_files
    from pipeline.analysis.opening import Opened
    from pipeline.analysis.organism.chart import ablation_table, organism_figure
    from pipeline.columns import csv_bytes

    opened, name = Opened(STAGE, config), config.planted_source
    if name is not None and config.has_models:
        from pipeline.analysis.organism.run import examine

        result = examine(opened, name)
    else:
        sources = ", ".join(config.source_names)
        result = not_applicable(f"no source of the mix ({sources}) holds a planted behaviour")
    in_twin = result["twin"]["ablation"] if "twin" in result else None
    table = ablation_table(result.get("ablation", {}), in_twin)
    STAGE.publish_results(
        config,
        {
            "organism.json": result,
            "organism.csv": csv_bytes(table),
            **image_files("organism", organism_figure(table, FILE_PALETTE)),
        },
    )


if __name__ == "__main__":
    run(STAGE, main)
