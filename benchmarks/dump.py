"""The dump against the two bare forward passes to the hook point, on the same token batches.

    python -m benchmarks.dump --json OUT [--shape small|tiny|gemma] [--models DIR] [--repeats 5]

prints  one line per repeat; writes OUT with the medians: dump_over_forward (1: the dump is as fast
        as the bare passes), three_layers_over_one (processor time of a dump of three layers, the
        same pass to the last, over that of a dump of the last alone), rows per second of both, and
        how much the memory grew with three times the rows
costs   about a minute on two cores for `small`; `gemma` is for a GPU

Bare passes and dumps alternate, batch shapes are equal, and the store is written in full: per-row
arrays, checksums, seal.
"""

import argparse
import json
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from pipeline.harvest.dump import dump
from pipeline.harvest.pair import HookedPair
from pipeline.harvest.sink import Target
from pipeline.models.hook import residual
from pipeline.models.load import load_model
from pipeline.models.records import read_records
from pipeline.runtime import peak_memory_bytes, resolve_device, set_threads
from pipeline.store import StoreReader, StoreWriter, token_layout

BOS, VOCABULARY = 1, 4096


@dataclass(frozen=True)
class Shape:
    """What is measured: a model family and size cut off at `layer`, and the tokens run."""

    family: str
    d_model: int
    d_mlp: int
    n_heads: int
    n_key_value_heads: int
    d_head: int
    layer: int
    length: int
    n_sequences: int
    batch_tokens: int
    rows_per_chunk: int


SHAPES = {
    "tiny": Shape("gemma2", 128, 384, 4, 2, 32, 3, 128, 768, 4096, 16384),
    "small": Shape("llama", 576, 1536, 9, 3, 64, 15, 512, 16, 2048, 2048),
    "gemma": Shape("gemma2", 2304, 9216, 8, 4, 256, 14, 1024, 256, 8192, 4096),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument(
        "--models", type=Path, help="a data/models folder in place of random weights"
    )
    parser.add_argument("--dir", type=Path, default=Path("build/benchmark_dump"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    set_threads(arguments.threads)
    figures = measure(
        SHAPES[arguments.shape], arguments.dir, arguments.repeats, models_dir=arguments.models
    )
    arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


def measure(
    shape: Shape, folder: Path, repeats: int, models_dir: Path | None = None
) -> dict[str, Any]:
    """The figures; `folder` is emptied and removed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        pair = real_pair(models_dir, shape) if models_dir else random_pair(shape)
        write_tokens(folder / "tokens.zarr", shape)
        with StoreReader.open(folder / "tokens.zarr") as tokens:
            return compare(pair, tokens, shape, folder, repeats)
    finally:
        shutil.rmtree(folder)


def compare(
    pair: HookedPair, tokens: StoreReader, shape: Shape, folder: Path, repeats: int
) -> dict[str, Any]:
    """Alternate bare passes and dumps over a third of the sequences, then dump all of them."""
    part = range(shape.n_sequences)
    run_bare(pair, tokens, part, shape)  # warm-up
    run_dump(pair, tokens, part, shape, folder)
    seconds: dict[str, list[float]] = {"forward": [], "dump": []}
    layers: list[float] = []
    three = replace(pair, layers=tuple(shape.layer * n // 3 for n in (1, 2, 3)))
    for repeat in range(repeats):
        seconds["forward"].append(timed(lambda: run_bare(pair, tokens, part, shape)))
        seconds["dump"].append(timed(lambda: run_dump(pair, tokens, part, shape, folder)))
        ratio = seconds["forward"][-1] / seconds["dump"][-1]
        of_three, of_one = (
            timed(lambda read=read: run_dump(read, tokens, part, shape, folder), time.process_time)
            for read in (three, pair)
        )
        layers.append(of_three / of_one)
        print(
            f"repeat {repeat}: forward {seconds['forward'][-1]:.2f} s, ratio {ratio:.3f}, "
            f"three layers over one {layers[-1]:.3f}"
        )
    before = peak_memory_bytes()
    run_dump(pair, tokens, range(3 * shape.n_sequences), shape, folder)
    n_rows = shape.n_sequences * (shape.length - 1)
    ratios = [f / d for f, d in zip(seconds["forward"], seconds["dump"], strict=True)]
    return {
        "dump_over_forward": statistics.median(ratios),
        "dump_over_forward_by_repeat": ratios,
        "three_layers_over_one": statistics.median(layers),
        "three_layers_over_one_by_repeat": layers,
        "forward_rows_per_second": n_rows / statistics.median(seconds["forward"]),
        "dump_rows_per_second": n_rows / statistics.median(seconds["dump"]),
        "peak_memory_growth_bytes": peak_memory_bytes() - before,
        "device": str(pair.models[0].device),
        "shape": vars(shape),
    }


def run_bare(pair: HookedPair, tokens: StoreReader, sequences: range, shape: Shape) -> None:
    """Both models up to the hook point, nothing kept."""
    step = max(1, shape.batch_tokens // shape.length)
    device = pair.models[0].device
    for batch in tokens.batches(step, sequences.start, sequences.stop, ("token_id",)):
        token_ids = torch.from_numpy(batch["token_id"].astype(np.int64)).to(device)
        for model in pair.models:
            residual(model, pair.layers[-1], token_ids)
    if device.type == "cuda":
        torch.cuda.synchronize()


def run_dump(
    pair: HookedPair, tokens: StoreReader, sequences: range, shape: Shape, folder: Path
) -> None:
    """The dump, from nothing to a sealed store per layer."""
    stores = [folder / f"activations_{layer}.zarr" for layer in pair.layers]
    dump(
        [
            Target(lambda layout, _n_rows, store=store: StoreWriter.open(store, layout))
            for store in stores
        ],
        tokens,
        sequences,
        pair,
        batch_tokens=shape.batch_tokens,
        rows_per_chunk=shape.rows_per_chunk,
        codec="none",
        progress_name="benchmark_dump",
    )
    for store in stores:
        shutil.rmtree(store)


def timed(work: Callable[[], None], clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds that `work` takes by a clock."""
    began = clock()
    work()
    return clock() - began


def random_pair(shape: Shape) -> HookedPair:
    """Two models with random weights in bfloat16, cut off at the layer."""
    device = resolve_device("auto")
    models = [random_model(shape, torch.bfloat16).to(device) for _ in range(2)]  # pyright: ignore[reportArgumentType]
    return HookedPair(models, (shape.layer,), shape.d_model, BOS)


def random_model(shape: Shape, dtype: torch.dtype) -> PreTrainedModel:
    config = AutoConfig.for_model(
        shape.family,
        vocab_size=VOCABULARY,
        hidden_size=shape.d_model,
        intermediate_size=shape.d_mlp,
        num_hidden_layers=shape.layer,
        num_attention_heads=shape.n_heads,
        num_key_value_heads=shape.n_key_value_heads,
        head_dim=shape.d_head,
    )
    attention = "eager" if shape.family == "gemma2" else "sdpa"
    model: Any = AutoModelForCausalLM.from_config(
        config, dtype=dtype, attn_implementation=attention
    )
    return model.eval().requires_grad_(False)


def real_pair(models_dir: Path, shape: Shape) -> HookedPair:
    """The pair of a models stage at the shape's layer."""
    records = read_records(models_dir)
    attention = "eager" if records["base"].architecture == "gemma2" else "sdpa"
    models = [
        load_model(
            models_dir,
            name,
            dtype="bfloat16",
            attention=attention,
            device=resolve_device("auto"),
            n_layers=shape.layer,
        )
        for name in ("base", "it")
    ]
    return HookedPair(models, (shape.layer,), records["base"].d_model, BOS)


def write_tokens(path: Path, shape: Shape) -> None:
    """Three times the sequences of random tokens, BOS first."""
    random = np.random.default_rng(0)
    size = (3 * shape.n_sequences, shape.length)
    token_id = random.integers(2, 2048, size).astype(np.int32)
    token_id[:, 0] = BOS
    zeros = np.zeros(size, np.uint8)
    with StoreWriter.open(path, token_layout(shape.length, 256, sources=("pile",))) as writer:
        writer.append(
            {
                "token_id": token_id,
                "document": np.zeros(size, np.int32),
                "source": zeros,
                "token_class": zeros,
                "split": np.zeros(size[0], np.uint8),
            }
        )
        writer.finish()


if __name__ == "__main__":
    main()
