"""What a plan says an experiment needs, and what it says is missing."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub.errors import LocalEntryNotFoundError

from pipeline.config import Config, compose
from pipeline.distributed import Ranks
from pipeline.models.size import sizes_of
from pipeline.planning import measure
from pipeline.planning.measure import active_share, rates_here
from pipeline.planning.missing import missing_for
from pipeline.planning.rates import Machine, Rates, on_a_card, step_seconds
from pipeline.planning.tables import (
    format_bytes,
    in_rounds_of,
    peak_disk,
    plan_table,
    round_that_fits,
    ways_table,
)
from pipeline.planning.terms import CODED_SHARE, Costs, Terms, estimate
from pipeline.shuffle.buckets import BucketReader
from pipeline.shuffle.geometry import Geometry
from pipeline.shuffle.permutation import Permutation
from pipeline.store import StoreLayout
from pipeline.text.tokens import train_tokenizer
from pipeline.training.finished import n_latents_of
from stages import plan
from tests.models.families import family_folder

ROOT = Path(__file__).parents[2]
LAPTOP = Machine(
    device="cpu",
    device_name="CPU, 2 threads",
    n_processes=1,
    disk_bytes_per_second=1e9,
    free_disk_bytes=10**11,
    memory_bytes=24 * 2**30,
    device_memory_bytes=24 * 2**30,
)
RATES = Rates(
    start=4.0,
    byte=1e-9,
    text=3e-6,
    forward=4e-11,
    write=9e-11,
    step=3e-5,
    diff_step=1e-5,
    encode=2e-11,
    climb=5e-11,
)
"""Such as one thread of a CPU has."""
FINISHED = ("crosscoder=pretrained", "crosscoder.n_latents=null")


@pytest.fixture(autouse=True)
def _in_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", refuse)
    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)


@cache
def composed(*overrides: str) -> Config:
    return compose([*overrides])


def costs(experiment: str, *overrides: str, rates: Rates = RATES) -> Costs:
    return estimate(composed(f"+experiment={experiment}", *overrides), rates)


def gemma() -> Config:
    return composed("+experiment=gemma")


def reference_crosscoder(
    file: Path,
    *,
    n_models: int = 2,
    d_model: int = 2304,
    n_latents: int = 24,
    told: dict | None = None,
) -> None:
    """Weights of 0 that take no room, and what the JSON beside them tells."""
    shapes = {
        "W_enc": (n_models, d_model, n_latents),
        "W_dec": (n_latents, n_models, d_model),
        "b_enc": (n_latents,),
        "b_dec": (n_models, d_model),
    }
    torch.save({name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}, file)
    if told is not None:
        (file.parent / "cfg.json").write_text(json.dumps(told))


def test_gemma_2_2b_has_its_published_parameter_count() -> None:
    sizes = sizes_of(gemma())
    assert sizes is not None
    for size in sizes:
        assert size.n_parameters == pytest.approx(2.614e9, rel=0.001)
        assert size.d_model == 2304


def test_the_gemma_store_is_the_published_3_7_terabytes() -> None:
    planned = costs("gemma")
    kept = planned["dump"].disk + planned["dump"].scratch
    assert kept == pytest.approx(3.72e12, rel=0.01)
    assert planned["shuffle"].disk == pytest.approx(kept, rel=0.01)


def test_the_plan_knows_what_dealing_and_dropping_save() -> None:
    dealt, kept = costs("gemma"), costs("gemma", "runtime.drop_unshuffled=false")
    two_pass = costs("gemma", "runtime.drop_unshuffled=false", "dump.scatter_seed=null")
    store = two_pass["shuffle"].disk
    assert two_pass["shuffle"].scratch == store
    assert kept["shuffle"].scratch == 0
    assert dealt["shuffle"].scratch == store  # the dumped rows, until the end
    assert kept["dump"].disk - dealt["dump"].disk == store
    assert two_pass["shuffle"].seconds > 1.9 * kept["shuffle"].seconds


@pytest.mark.parametrize("codec", ["zstd", "blosc_lz4"])
def test_a_codec_takes_less_disk_for_every_store_but_not_for_dealt_rows(codec: str) -> None:
    kept = ("gemma", "runtime.drop_unshuffled=false")
    plain, dealt = costs(*kept), costs(*kept, f"dump.codec={codec}")
    two_pass = costs(*kept, f"dump.codec={codec}", "dump.scatter_seed=null")
    for stage in ("dump", "shuffle"):
        coded = CODED_SHARE[codec] * plain[stage].disk
        assert two_pass[stage].disk == pytest.approx(coded)
    assert two_pass["shuffle"].scratch == plain["shuffle"].disk
    assert dealt["dump"].disk > two_pass["dump"].disk
    assert dealt["shuffle"].disk == two_pass["shuffle"].disk


def test_terabytes_without_a_bulk_folder_are_missing_one(no_hub: None) -> None:
    kept = ("gemma", "runtime.drop_unshuffled=false", "runtime.bulk_dir=null")
    inline, planned = composed(f"+experiment={kept[0]}", *kept[1:]), costs(*kept)
    (line,) = (line for line in missing_for(inline, LAPTOP, planned) if "runtime.bulk_dir" in line)
    assert "set runtime.bulk_dir=data/bulk" in line
    assert not any(
        "runtime.bulk_dir" in line for line in missing_for(gemma(), LAPTOP, costs("gemma"))
    )


def test_a_finished_crosscoder_is_no_training_and_its_latents_are_analysed(tmp_path: Path) -> None:
    reference_crosscoder(tmp_path / "cc_weights.pt", n_latents=32768)
    given = "crosscoder.n_latents={}"
    finished = ("gemma", "seeds.n_runs=3", "crosscoder=pretrained", f"crosscoder.path={tmp_path}")
    trained = costs("gemma", "seeds.n_runs=3", given.format(32768))
    told = costs(*finished, given.format("null"))
    assert "seed_runs" not in told
    assert told["train"].seconds < 0.5 * trained["train"].seconds
    assert told["train"].disk == trained["train"].disk
    for stage in ("latent_scaling", "dashboards", "baselines"):
        assert told[stage] == trained[stage], stage
    assert costs(*finished, given.format(32768)) == told


def test_a_finished_crosscoder_that_is_not_here_is_named(no_hub: None, tmp_path: Path) -> None:
    def said(*overrides: str) -> list[str]:
        config = composed("+experiment=tiny", *FINISHED, *overrides)
        assert n_latents_of(config.crosscoder) == 0
        return missing_for(config, LAPTOP, {})

    (line,) = said(f"crosscoder.path={tmp_path}")
    assert line.startswith(f"crosscoder.path: {tmp_path} holds no crosscoder")
    (line,) = said("crosscoder.repo=someone/diff")
    assert "`hf download someone/diff`" in line
    for name in ("7.pt", "model_final.pt"):
        reference_crosscoder(tmp_path / name, d_model=128)
        for path in (tmp_path, tmp_path / name):
            config = composed("+experiment=tiny", *FINISHED, f"crosscoder.path={path}")
            assert missing_for(config, LAPTOP, {}) == []
        (tmp_path / name).unlink()


@pytest.mark.parametrize(
    ("made", "overrides", "words"),
    [
        ({"d_model": 64}, (), "(n_models, d_model) (2, 64), but the activations have (2, 128)"),
        ({"n_models": 1}, (), "(n_models, d_model) (1, 128), but the activations have (2, 128)"),
        ({"n_models": 3}, (), "(n_models, d_model) (3, 128), but the activations have (2, 128)"),
        ({}, ("crosscoder.n_latents=99",), "crosscoder.n_latents is 99, but {} has 24 latents"),
        ({"told": {"hook_point": "blocks.5.hook_resid_pre"}}, (), "hook_point.layer = 5, but this"),
        ({"told": {"d_in": 64}}, (), "says that d_model is 64, but the tensors have 128"),
    ],
)
@pytest.mark.parametrize("experiment", ["tiny", "planted"])
def test_a_finished_crosscoder_of_another_site_is_told_before_anything_runs(
    tmp_path: Path, made: dict, overrides: tuple[str, ...], words: str, experiment: str
) -> None:
    """Whether the width is that of a model that is yet to be trained, or of drawn rows."""
    reference_crosscoder(tmp_path / "cc_weights.pt", **{"d_model": 128, **made})
    chosen = (*FINISHED, f"crosscoder.path={tmp_path}", *overrides)
    (line,) = missing_for(composed(f"+experiment={experiment}", *chosen), LAPTOP, {})
    assert line.startswith((f"crosscoder.path: {tmp_path}", "crosscoder.n_latents is"))
    assert words.format(tmp_path) in line
    remedies = ("set crosscoder.", "name a crosscoder of", "download the crosscoder again")
    assert any(remedy in line for remedy in remedies)


def test_the_latents_of_a_finished_crosscoder_are_those_of_its_tensors(tmp_path: Path) -> None:
    """Whatever the JSON file beside them holds, which need not be a number."""
    reference_crosscoder(tmp_path / "7.pt", n_latents=48)
    chosen = ("+experiment=tiny", *FINISHED, f"crosscoder.path={tmp_path}")
    assert n_latents_of(composed(*chosen).crosscoder) == 48
    (tmp_path / "7_cfg.json").write_text('{"dict_size": "many"}')
    assert n_latents_of(composed(*chosen).crosscoder) == 0


def test_gemma_without_weights_data_or_room_says_each(no_hub: None) -> None:
    text = "\n".join(missing_for(gemma(), LAPTOP, costs("gemma")))
    for part in (
        "models.base: google/gemma-2-2b is not in the local hub cache",
        "hf download google/gemma-2-2b-it",
        "gated",
        "sources.chat: dataset 'lmsys/lmsys-chat-1m'",
        "disk:",
        "device:",
    ):
        assert part in text


def test_tiny_lacks_nothing_on_a_laptop() -> None:
    config = composed("+experiment=tiny")
    assert missing_for(config, LAPTOP, estimate(config, RATES)) == []


def test_planted_rows_need_no_model_and_no_text() -> None:
    planned = costs("planted")
    config = composed("+experiment=planted")
    assert missing_for(config, LAPTOP, planned) == []
    assert not {"causal", "parting"} & planned.keys()
    assert planned["mix"].disk == 0
    assert planned["shuffle"].disk == pytest.approx(786_432 * (2 * 128 * 2 + 18), rel=0.01)


def test_the_plan_counts_further_seeds_sequences_and_texts() -> None:
    more = ("seeds.n_runs=3", "causal.n_sequences=80", "steering.n_samples=3")
    one, three = costs("gemma"), costs("gemma", *more)
    assert "seed_runs" not in one
    assert three["seed_runs"].seconds == pytest.approx(2 * one["train"].seconds, rel=0.01)
    assert three["causal"].seconds == pytest.approx(2 * one["causal"].seconds, rel=0.1)
    texts, more_texts = (each["steering"].seconds - 2 * RATES.start for each in (one, three))
    assert more_texts == pytest.approx(2 * texts), "one text of a prompt is greedy"
    more = costs("gemma", "parting.n_sequences=1280")["parting"].seconds
    few = one["parting"].seconds
    assert few < more < 10 * few, "listed tokens cost the same"


@pytest.mark.parametrize(
    ("n_latents", "batch_rows", "k", "precision", "milliseconds"),
    [
        (16_384, 4096, None, "fp32", 64),  # 62 of products
        (16_384, 4096, None, "bf16", 6.1),  # 4 of products, 1.4 of passes over weights
        (73_728, 2048, 100, "bf16", 13.5),  # 6 of products, 6 of passes over weights
        (73_728, 2048, 100, "fp32", 44),  # 28 to encode
    ],
)
def test_a_step_on_a_card_is_priced_by_products_and_passes(
    n_latents: int, batch_rows: int, k: int | None, precision: str, milliseconds: float
) -> None:
    """Against sums by hand."""
    found = 1e3 * step_seconds(batch_rows, n_latents, 2 * 2304, k, precision)
    assert found == pytest.approx(milliseconds, rel=0.05)


def test_the_table_has_a_line_per_stage_and_a_total() -> None:
    planned = estimate(gemma(), on_a_card(gemma(), 2304))
    table = plan_table(planned)
    assert [line.split()[0] for line in table.splitlines()] == [
        "stage",
        *planned,
        "all",
    ]
    assert len({len(line) for line in table.splitlines()}) == 1
    assert "3.7" in table


def test_rows_leave_out_one_bos_per_sequence() -> None:
    n_rows = Terms(gemma()).n_train
    assert n_rows == gemma().mix.n_train_sequences * 1023
    assert n_rows >= 400_000_000


@pytest.mark.parametrize(
    ("n", "text"), [(0, "0"), (5e5, "< 1 MB"), (12.3e6, "12.3 MB"), (3.69e12, "3.69 TB")]
)
def test_sizes_read_well(n: float, text: str) -> None:
    assert format_bytes(n) == text


def local(base: Path, it: Path, *overrides: str) -> Config:
    """A pair of folders on generated text."""
    folders = (f"models.base.path='{base}'", f"models.it.path='{it}'", "hook_point.layer=2")
    return composed("+experiment=local", *folders, "sources=generated", *overrides)


def test_a_pair_that_is_refused_is_not_tried_and_the_plan_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its first blocks would end in an error of their own: here, for want of positions."""
    folder = family_folder(tmp_path / "base", "gpt2")

    def tried(*_: object) -> None:
        raise AssertionError("a model that is refused was tried")

    monkeypatch.setattr(measure, "rates_here", tried)
    monkeypatch.setattr("pipeline.planning.rates.look_at_machine", lambda *_: LAPTOP)
    with pytest.raises(SystemExit) as ended:
        plan.main(local(folder, folder, "mix.sequence_length_tokens=4096"))
    assert ended.value.code == 1
    assert "mix.sequence_length_tokens is 4096" in capsys.readouterr().out


def test_an_absent_local_folder_and_file_are_named() -> None:
    paths = (f"sources.{name}.paths=[/nowhere/{name}*.jsonl]" for name in ("pile", "chat"))
    config = local(Path("/nowhere/base"), Path("/nowhere/it"), "sources=files", *paths)
    text = "\n".join(missing_for(config, LAPTOP, estimate(config, RATES)))
    assert "models.base: model folder /nowhere/base does not exist" in text
    assert "sources.pile.paths: no file at '/nowhere/pile*.jsonl'" in text


def test_an_adapter_on_a_base_in_a_template_of_control_tokens_is_planned(tmp_path: Path) -> None:
    """The experiment `gemma3_adapter` on a small Gemma-3 folder: nothing is missing, and the plan
    has a price for the tuning and the dump."""
    folder = family_folder(tmp_path / "base", "gemma3_text")
    tokenizer = train_tokenizer(["User: hello there\nAssistant: a stone\n"], 290)
    tokenizer.save_pretrained(folder)
    texts = {name: tmp_path / f"{name}.jsonl" for name in ("pile", "chat", "tuning")}
    for path in texts.values():
        path.write_text("{}\n")
    paths = [f"sources.{name}.paths=[{path}]" for name, path in texts.items()]
    chosen = [f"models.base.path={folder}", "hook_point.layer=2", *paths]
    planned = costs("gemma3_adapter", *chosen)
    config = composed("+experiment=gemma3_adapter", *chosen)
    assert missing_for(config, LAPTOP, planned) == []
    assert planned["models"].seconds > 2 * RATES.start
    assert planned["dump"].disk > 0


def test_rounds_of_the_published_run_fit_300_gigabytes() -> None:
    rounds, stored = costs("gemma_one_card"), costs("gemma")
    assert peak_disk(rounds) < 250e9
    assert rounds["dump"].disk == pytest.approx(18.5e9, rel=0.01)  # held-out rows alone
    assert rounds["train"].scratch == pytest.approx(2 * 93.3e9, rel=0.03)
    for stage in ("changes", "train"):
        assert rounds[stage].seconds > stored[stage].seconds


@pytest.mark.parametrize("n_processes", [1, 2, 3])
def test_bucket_files_that_several_processes_have_not_let_go_are_counted(
    tmp_path: Path, n_processes: int
) -> None:
    """Against readers that let go of real files while each orders its part of a round."""
    n_rows, step = 25 * 4_096, 64
    terms = Terms(composed("+experiment=tiny", f"dump.rows_per_round={n_rows}"), n_processes)
    geometry = Geometry(StoreLayout((), 1), Permutation(0, n_rows))
    (tmp_path / "c").mkdir()
    for bucket in range(geometry.permutation.n_buckets):
        (tmp_path / geometry.file_name(bucket)).touch()
    starts = [Ranks(rank, n_processes).part(n_rows).start for rank in range(n_processes)]
    first = [-(-start // geometry.rows_per_file) for start in starts]
    readers = [BucketReader(tmp_path, geometry, np.zeros(0), False, n) for n in first]
    most = 0
    for done in range(0, n_rows // n_processes, step):
        n_held = len(list((tmp_path / "c").iterdir())) * geometry.rows_per_file
        most = max(most, n_held + n_processes * done - n_rows)
        for reader, start in zip(readers, starts, strict=True):
            reader.release((start + done) // geometry.permutation.bucket_rows)
    counted = terms.rows_on_disk(4 * n_rows) - 2 * n_rows
    assert most - n_processes * step <= counted < 2 * most


def test_an_epoch_more_computes_the_rows_once_more() -> None:
    def added(n_epochs: int) -> float:
        n_rows = f"train.n_rows={n_epochs * 400_000_000}"
        in_rounds = composed("+experiment=gemma_one_card", n_rows)
        both = [estimate(each, RATES) for each in (in_rounds, in_rounds_of(in_rounds, None))]
        with_, without = (of["train"].seconds for of in both)
        return with_ - without

    assert added(2) == pytest.approx(2 * added(1), rel=0.01)


@pytest.mark.parametrize("free", [300e9, 1000e9])
def test_the_proposed_rounds_fill_the_free_disk_and_no_more(free: float) -> None:
    machine = replace(LAPTOP, free_disk_bytes=int(free))
    rows = round_that_fits(gemma(), machine)
    assert rows is not None
    peak = peak_disk(estimate(in_rounds_of(gemma(), rows), RATES))
    assert 0.8 * free < peak < 0.92 * free
    told = ways_table(gemma(), machine, RATES)
    assert f"dump.rows_per_round={rows} dump.scatter_seed=null" in told
    assert "7.42 TB" in told


def test_a_disk_without_room_for_two_batches_is_told() -> None:
    machine = replace(LAPTOP, free_disk_bytes=10**9)
    assert "no size of round fits the 1 GB" in ways_table(gemma(), machine, RATES)


def test_rates_are_measured_once_and_read_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "LOGS", tmp_path)
    monkeypatch.setattr(measure, "REPEATED_SECONDS", 0.0)
    monkeypatch.setattr(measure, "start", lambda: None)
    other = ("crosscoder=batch_topk_k16", "train.batch_rows=64")
    config = composed("+experiment=smoke", *other)
    found = rates_here(config, LAPTOP)
    assert found is not None
    # 100 GFLOP/s and 100 MFLOP/s lie far outside of what one thread does here.
    assert all(1e-11 < rate < 1e-8 for rate in (found.forward, found.write))
    assert 0 < found.diff_step < 1e-2
    assert found.byte == 1 / LAPTOP.disk_bytes_per_second
    monkeypatch.delattr(measure.Probes, "all")
    assert rates_here(config, LAPTOP) == found
    with pytest.raises(AttributeError):  # other steps are measured anew
        rates_here(composed("+experiment=smoke"), LAPTOP)


@pytest.mark.parametrize(
    ("n_steps", "share"),
    [(20, 0.5), (256, 338 / 2_048), (1_562, 41 / 1_024), (97_657, 0.01)],
)
def test_a_short_training_has_more_latents_active_than_a_long_one(
    n_steps: int, share: float
) -> None:
    """Means of L0 over the steps of an L1 crosscoder on random weights, and of `tiny`'s."""
    assert active_share(n_steps) == pytest.approx(share, rel=0.2)


def test_a_stage_takes_its_work_at_the_measured_rates() -> None:
    """Twice the seconds per operation are twice the time but for the starts, whatever the stage."""
    slow = replace(RATES, **{n: 2 * v for n, v in vars(RATES).items() if n != "start"})
    once, twice = costs("tiny"), costs("tiny", rates=slow)
    for stage, one in once.items():
        starts = (2 * one.seconds - twice[stage].seconds) / RATES.start
        assert starts == pytest.approx(round(starts, 2), rel=0.01)
    passes = 2 * 2 * 3 * 197_000 * (400_050 + 40_132)  # two models of three blocks, by hand
    by_hand = 2 * RATES.start + passes * RATES.forward
    assert once["dump"].seconds == pytest.approx(by_hand, rel=0.05)


def test_every_stage_of_the_graph_has_a_line_or_costs_nothing() -> None:
    graph = set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
    lines = costs("smoke").keys() | costs("planted").keys()
    assert graph - lines == {"code", "compose", "local_files"}
    assert lines <= graph


def test_sentences_of_a_local_writer_take_time_and_those_of_an_endpoint_only_ask(
    tmp_path: Path,
) -> None:
    def seconds(*overrides: str) -> float:
        return costs("tiny", *overrides)["explain"].seconds

    folder = family_folder(tmp_path / "writer", "llama")
    told = seconds("explain/writer=local", f"explain.writer.path={folder}")
    assert told > seconds() == seconds("explain/writer=endpoint")
