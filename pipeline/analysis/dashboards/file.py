"""The dashboards on disk: `results/dashboards/dashboards.jsonl.gz`, a JSON object per latent.

`read_dashboards` gives them back one at a time, `pandas.read_json(path, lines=True)` as a table.
Activations and norms are in the normalised space of the crosscoder. FIELDS and EXAMPLE_FIELDS
explain each key.
"""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import ArtifactError, MissingArtifactError

DASHBOARDS = "dashboards.jsonl.gz"
Record = dict[str, Any]

FIELDS = {
    "latent": "index in the dictionary",
    "norm_base": "||d_base||: what one unit of activation writes into the base side",
    "norm_it": "||d_it||: the same for the IT side",
    "n_active": "tokens of the window on which the latent is active, per source and token class",
    "n_tokens": "tokens of the window, per source and token class",
    "histogram": "active values: bin width, and counts per source from 0 on",
    "top": "the token of the strongest activation in each of several documents, strongest first",
    "bands": "active tokens drawn at random from equal fifths (or so) of the active values: from, "
    "to (shares of the active tokens), low, high (values), examples",
    "lens": "tokens and logits of six lists; see pipeline.analysis.lens",
    "nearest": "latents with the highest joint decoder cosine, and the cosines",
}
EXAMPLE_FIELDS = {
    "sequence": "row of the token store",
    "position": "of the token in its sequence",
    "source": "name of the source",
    "token_class": "other or template",
    "value": "activation on the token; times norm_base or norm_it for what it writes there",
    "at": "index of the token among `tokens`",
    "tokens": "text of each token of the window",
    "values": "activation on each; null where the store has no row (BOS)",
}


def short(value: Any) -> float | int:
    """Four significant digits; whole numbers without a fraction."""
    rounded = float(f"{float(value):.4g}")
    return int(rounded) if rounded.is_integer() else rounded


def write_dashboards(path: Path, records: Iterator[Record]) -> int:
    """Write the records, one JSON line each, the same bytes for the same records; their number."""
    n = 0
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
        for record in records:
            line = json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            file.write(f"{line}\n".encode())
            n += 1
    return n


def read_dashboards(folder: Path) -> Iterator[Record]:
    """The records of `results/dashboards/`, one at a time."""
    path = folder / DASHBOARDS
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)
    except FileNotFoundError as error:
        raise MissingArtifactError(f"{path} not found: run `dvc repro dashboards`") from error
    except (ValueError, EOFError, gzip.BadGzipFile) as error:
        raise ArtifactError(
            f"{path} is damaged ({error}): remove {folder} and run `dvc repro dashboards`"
        ) from error
