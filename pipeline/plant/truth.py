"""The artifact `data/plant/`: what was planted, beside the stores that hold it.

features.parquet   one row per feature, columns of `features.COLUMNS`
directions.npy     [feature, model, d_model], unit vectors in the models' own units
An experiment that plants nothing leaves the manifest alone, with the fact `applicable: false`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artifacts import Build, write_json
from pipeline.plant.features import COLUMNS
from pipeline.results import not_applicable

if TYPE_CHECKING:
    from pipeline.plant.rows import Plant

FEATURES, DIRECTIONS, ABOUT = "features.parquet", "directions.npy", "columns.json"


def publish_truth(build: Build, plant: "Plant | None") -> None:
    """Publish `data/plant/`, which says so where nothing was planted."""
    nothing = not_applicable("the experiment plants nothing (plant is null)")
    build.publish(counts={}, facts=write_truth(build.work, plant) if plant else nothing)


def write_truth(folder: Path, plant: "Plant") -> dict[str, Any]:
    """Write what was planted; the facts of the manifest."""
    features = plant.features
    features.table().to_parquet(folder / FEATURES, index=False)
    np.save(folder / DIRECTIONS, features.direction_FMD)
    write_json(folder / ABOUT, COLUMNS)
    return {
        "applicable": True,
        "n_features": features.n,
        "d_model": features.direction_FMD.shape[2],
        "unit": plant.unit,
    }
