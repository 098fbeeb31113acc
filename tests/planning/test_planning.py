"""The plan's arithmetic, and what it says is missing."""

import dataclasses
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from pipeline.config import Config, compose
from pipeline.models.configuration import read_configuration
from pipeline.planning import Machine, estimate, measure, missing_for, plan_table, size_of
from pipeline.planning.cost import StageCost, format_bytes, peak_disk
from pipeline.planning.dictionary import is_here
from pipeline.planning.machine import H200
from pipeline.planning.measure import rates_here
from pipeline.planning.model_size import size_from_config
from pipeline.planning.rates import START_SECONDS, Rates, StepSize, step_seconds
from pipeline.planning.terms import CODED_SHARE, terms_of
from pipeline.planning.ways import in_rounds_of, round_that_fits, ways_table
from pipeline.text.tokens import train_tokenizer
from tests.models.families import family_folder, random_family

ROOT = Path(__file__).parents[2]
LAPTOP = Machine(
    device="cpu",
    device_name="CPU, 2 threads",
    fp32_flops_per_second=1e11,
    bf16_flops_per_second=4e11,
    disk_bytes_per_second=1e9,
    free_disk_bytes=10**11,
    memory_bytes=24 * 2**30,
    device_memory_bytes=24 * 2**30,
    device_bytes_per_second=None,
)


@pytest.fixture(autouse=True)
def _in_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("pipeline.planning.missing._reachable", lambda spec: False)
    monkeypatch.setattr("pipeline.planning.missing.cached_hub_file", lambda spec, file: None)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)


def gemma() -> Config:
    return compose(["+experiment=gemma"])


def test_gemma_2_2b_has_its_published_parameter_count() -> None:
    size = size_of(gemma().models, "base")
    assert size is not None
    assert size.n_parameters == pytest.approx(2.614e9, rel=0.001)
    assert size.d_model == 2304


def test_the_gemma_store_is_the_published_3_7_terabytes() -> None:
    costs = {cost.stage: cost for cost in estimate(gemma(), LAPTOP)}
    kept = costs["dump"].disk_bytes + costs["dump"].scratch_bytes
    assert kept == pytest.approx(3.72e12, rel=0.01)
    assert costs["shuffle"].disk_bytes == pytest.approx(kept, rel=0.01)


def test_the_plan_knows_what_dealing_and_dropping_save() -> None:
    def shuffle_and_dump(*overrides: str) -> dict[str, StageCost]:
        made = estimate(compose(["+experiment=gemma", *overrides]), LAPTOP)
        return {cost.stage: cost for cost in made}

    dealt = shuffle_and_dump()
    kept = shuffle_and_dump("runtime.drop_unshuffled=false")
    two_pass = shuffle_and_dump("runtime.drop_unshuffled=false", "dump.scatter_seed=null")
    store = two_pass["shuffle"].disk_bytes
    assert two_pass["shuffle"].scratch_bytes == store
    assert kept["shuffle"].scratch_bytes == 0
    assert dealt["shuffle"].scratch_bytes == store  # the dumped rows, until the end
    assert kept["dump"].disk_bytes - dealt["dump"].disk_bytes == store
    assert two_pass["shuffle"].seconds > 1.9 * kept["shuffle"].seconds


def test_a_codec_takes_less_disk_for_every_store_but_not_for_dealt_rows() -> None:
    def costs(*overrides: str) -> dict[str, StageCost]:
        made = estimate(
            compose(["+experiment=gemma", "runtime.drop_unshuffled=false", *overrides]), LAPTOP
        )
        return {cost.stage: cost for cost in made}

    for codec in ("zstd", "blosc_lz4"):
        dealt = costs(f"dump.codec={codec}")
        two_pass = costs(f"dump.codec={codec}", "dump.scatter_seed=null")
        share = CODED_SHARE[codec]
        shuffled = costs()["shuffle"].disk_bytes
        assert two_pass["dump"].disk_bytes == pytest.approx(share * costs()["dump"].disk_bytes)
        assert two_pass["shuffle"].disk_bytes == pytest.approx(share * shuffled)
        assert two_pass["shuffle"].scratch_bytes == shuffled
        assert dealt["dump"].disk_bytes > two_pass["dump"].disk_bytes
        assert dealt["shuffle"].disk_bytes == two_pass["shuffle"].disk_bytes


def test_terabytes_without_a_bulk_folder_are_missing_one(no_hub: None) -> None:
    inline = compose(
        ["+experiment=gemma", "runtime.drop_unshuffled=false", "runtime.bulk_dir=null"]
    )
    lines = [line for line in missing_for(inline, LAPTOP, []) if "runtime.bulk_dir" in line]
    assert len(lines) == 1
    assert "set runtime.bulk_dir=data/bulk" in lines[0]
    assert not any("runtime.bulk_dir" in line for line in missing_for(gemma(), LAPTOP, []))


def test_training_time_follows_the_matrix_rate() -> None:
    slow, fast = LAPTOP, dataclasses.replace(LAPTOP, fp32_flops_per_second=1e12)
    times = [
        next(cost.seconds for cost in estimate(gemma(), machine) if cost.stage == "train")
        for machine in (slow, fast)
    ]
    assert times[0] / times[1] == pytest.approx(10, rel=0.01)


@pytest.mark.parametrize(("precision", "share"), [("fp32", 1.5 / 5), ("bf16", 2.0 / 5)])
def test_a_batch_topk_training_costs_its_measured_share_of_an_l1_one(
    precision: str, share: float
) -> None:
    def seconds(crosscoder: str) -> float:
        overrides = [
            "+experiment=gemma",
            f"crosscoder={crosscoder}",
            f"train.precision={precision}",
        ]
        costs = estimate(compose(overrides), LAPTOP)
        return next(cost.seconds for cost in costs if cost.stage == "train") - START_SECONDS

    assert seconds("batch_topk") == pytest.approx(share * seconds("l1"))
    assert seconds("jumprelu") == seconds("dsf") == seconds("l1")


def test_a_finished_crosscoder_is_no_training_and_its_latents_are_analysed(tmp_path: Path) -> None:
    (tmp_path / "cc_weights.pt").touch()
    (tmp_path / "cfg.json").write_text('{"dict_size": 32768}')

    def plan(*overrides: str) -> dict[str, StageCost]:
        config = compose(["+experiment=gemma", "seeds.n_runs=3", *overrides])
        return {cost.stage: cost for cost in estimate(config, LAPTOP)}

    given = "crosscoder.n_latents={}"
    finished = ("crosscoder=pretrained", f"crosscoder.path={tmp_path}")
    trained, told = plan(given.format(32768)), plan(*finished, given.format("null"))
    assert "seed_runs" not in told
    assert told["train"].seconds < 0.05 * trained["train"].seconds
    assert told["train"].disk_bytes == trained["train"].disk_bytes
    for stage in ("latent_scaling", "dashboards", "baselines"):
        assert told[stage] == trained[stage], stage
    assert plan(*finished, given.format(32768)) == told


def test_a_finished_crosscoder_that_is_not_here_is_named(no_hub: None, tmp_path: Path) -> None:
    def said(*overrides: str) -> list[str]:
        config = compose(["+experiment=tiny", "crosscoder=pretrained", *overrides])
        return missing_for(config, LAPTOP, [])

    folder, repo = f"crosscoder.path={tmp_path}", "crosscoder.repo=someone/diff"
    assert [line for line in said(folder) if line.startswith("crosscoder.path: no ")]
    assert any("`hf download someone/diff`" in line for line in said(repo))
    (tmp_path / "cc_weights.pt").touch()
    assert said(folder) == []


def test_gemma_without_weights_data_or_room_says_each(no_hub: None) -> None:
    config = gemma()
    text = "\n".join(missing_for(config, LAPTOP, estimate(config, LAPTOP)))
    for part in (
        "models.base: google/gemma-2-2b is not in the local hub cache",
        "hf download google/gemma-2-2b-it",
        "gated",
        "sources.chat: lmsys/lmsys-chat-1m cannot be reached",
        "disk:",
        "device:",
    ):
        assert part in text


def test_tiny_lacks_nothing_on_a_laptop() -> None:
    config = compose(["+experiment=tiny"])
    assert missing_for(config, LAPTOP, estimate(config, LAPTOP)) == []


def test_planted_rows_need_no_model_and_no_text() -> None:
    config = compose(["+experiment=planted"])
    costs = {cost.stage: cost for cost in estimate(config, LAPTOP)}
    assert missing_for(config, LAPTOP, list(costs.values())) == []
    assert not {"causal", "parting"} & costs.keys()
    assert costs["mix"].disk_bytes == 0
    assert costs["shuffle"].disk_bytes == pytest.approx(786_432 * (2 * 128 * 2 + 18), rel=0.01)


def test_the_plan_counts_further_seeds_and_the_causal_test() -> None:
    def seconds(*overrides: str) -> dict[str, float]:
        costs = estimate(compose(["+experiment=gemma", *overrides]), LAPTOP)
        return {cost.stage: cost.seconds for cost in costs}

    one, three = seconds(), seconds("seeds.n_runs=3", "causal.n_sequences=80")
    assert "seed_runs" not in one
    assert three["seed_runs"] == pytest.approx(2 * one["train"], rel=0.01)
    assert three["causal"] == pytest.approx(2 * one["causal"], rel=0.1)
    assert {"latent_scaling", "baselines", "dashboards"} <= one.keys()
    more = seconds("parting.n_sequences=1280")
    assert one["parting"] < more["parting"] < 10 * one["parting"], "listed tokens cost the same"


def test_an_absent_local_folder_and_file_are_named() -> None:
    config = compose(
        [
            "+experiment=local",
            "models.base.path=/nowhere/base",
            "models.it.path=/nowhere/it",
            "hook_point.layer=3",
            "sources.pile.paths=[/nowhere/*.jsonl]",
            "sources.chat.paths=[/nowhere/chats.jsonl]",
        ]
    )
    text = "\n".join(missing_for(config, LAPTOP, estimate(config, LAPTOP)))
    assert "models.base: model folder /nowhere/base does not exist" in text
    assert "no file matches /nowhere/*.jsonl" in text


@pytest.mark.parametrize(
    ("n_latents", "batch_rows", "k", "precision", "milliseconds"),
    [
        (16_384, 4096, None, "fp32", 64),  # 62 of products
        (16_384, 4096, None, "bf16", 8),  # 5 of products, 2 of passes over weights
        (73_728, 2048, 100, "bf16", 22),  # 9 of products, most of the rest Adam and conversions
        (73_728, 2048, 100, "fp32", 50),  # 28 to encode
    ],
)
def test_a_step_on_a_card_is_priced_by_products_and_passes(
    n_latents: int, batch_rows: int, k: int | None, precision: str, milliseconds: float
) -> None:
    """At the rates of an H100's data sheet, against sums by hand (`docs/performance.md`)."""
    card = replace(
        H200,
        fp32_flops_per_second=50e12,
        bf16_flops_per_second=620e12,
        device_bytes_per_second=3.0e12,
    )
    size = StepSize(batch_rows, n_latents, 2 * 2304, precision, k)
    assert 1e3 * step_seconds(size, card) == pytest.approx(milliseconds, rel=0.2)


def test_the_table_has_a_line_per_stage_and_a_total() -> None:
    costs = estimate(gemma(), H200)
    table = plan_table(costs)
    assert len(table.splitlines()) == len(costs) + 2
    assert "3.7" in table


def test_rows_leave_out_one_bos_per_sequence() -> None:
    n_rows = terms_of(gemma(), H200).n_train
    assert n_rows == gemma().mix.n_train_sequences * 1023
    assert n_rows >= 400_000_000


@pytest.mark.parametrize(
    ("n", "text"), [(0, "0"), (5e5, "< 1 MB"), (12.3e6, "12.3 MB"), (3.69e12, "3.69 TB")]
)
def test_sizes_read_well(n: float, text: str) -> None:
    assert format_bytes(n) == text


def plan_local(base: Path, it: Path, *overrides: str) -> list[str]:
    """What is missing for a pair of folders on small text files."""
    config = compose(
        [
            "+experiment=local",
            f"models.base.path='{base}'",
            f"models.it.path='{it}'",
            "hook_point.layer=2",
            "sources=generated",
            *overrides,
        ]
    )
    return [line for line in missing_for(config, LAPTOP, []) if line.startswith("models")]


def test_an_adapter_on_a_base_in_a_template_of_control_tokens_is_planned(tmp_path: Path) -> None:
    """The experiment `gemma3_adapter` on a small Gemma-3 folder: nothing is missing, and the plan
    has a price for the tuning and the dump."""
    folder = family_folder(tmp_path / "base", "gemma3_text")
    tokenizer = train_tokenizer(["User: hello there\nAssistant: a stone\n"], 290)
    tokenizer.save_pretrained(folder)
    texts = {name: tmp_path / f"{name}.jsonl" for name in ("pile", "chat", "tuning")}
    for path in texts.values():
        path.write_text("{}\n")
    config = compose(
        [
            "+experiment=gemma3_adapter",
            f"models.base.path={folder}",
            "hook_point.layer=2",
            *(f"sources.{name}.paths=[{path}]" for name, path in texts.items()),
        ]
    )
    assert config.source_names == ("pile", "chat", "tuning")
    costs = {cost.stage: cost for cost in estimate(config, LAPTOP)}
    assert missing_for(config, LAPTOP, list(costs.values())) == []
    assert costs["models"].seconds > 0
    assert costs["dump"].disk_bytes > 0


@pytest.mark.parametrize("family", ["gpt2", "opt", "bloom", "falcon", "mixtral"])
def test_a_plan_reads_the_shape_of_any_family(tmp_path: Path, family: str) -> None:
    folder = family_folder(tmp_path / family, family)
    config = compose(
        [
            "+experiment=local",
            f"models.base.path={folder}",
            f"models.it.path={folder}",
            "hook_point.layer=2",
            "sources=generated",
        ]
    )
    size = size_of(config.models, "base")
    assert size is not None
    assert (size.d_model, size.n_layers, size.vocab_size) == (16, 4, 300)
    model = random_family(family)
    assert size.n_parameters == sum(p.numel() for p in model.parameters())
    assert estimate(config, LAPTOP)


def test_a_mixture_of_experts_costs_what_its_chosen_experts_cost(tmp_path: Path) -> None:
    def active(n_chosen: int) -> float:
        folder = family_folder(tmp_path / str(n_chosen), "mixtral", num_experts_per_tok=n_chosen)
        size = size_from_config(read_configuration(folder))
        return size.n_active_parameters

    experts = 4 * 3 * 16 * 24  # four experts of three matrices
    assert active(4) - active(1) == 3 / 4 * experts


def test_a_plan_asks_local_folders_what_the_models_stage_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = train_tokenizer(["User: hello there\nAssistant: a stone by the river\n"], 300)
    for name in ("base", "it"):
        tokenizer.save_pretrained(family_folder(tmp_path / name, "llama"))
    folders = (tmp_path / "base", tmp_path / "it")
    short = "mix.sequence_length_tokens=32"
    assert plan_local(*folders, short) == []
    monkeypatch.setenv("HOME", str(tmp_path))
    assert plan_local(Path("~/base"), Path("$HOME/it"), short) == []
    (line,) = plan_local(*folders, short, "mix.start=nowhere")
    assert "token 'nowhere' has no id" in line
    weights = tmp_path / "it" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    (line,) = plan_local(*folders, short)
    assert line.startswith("models.it: ")
    assert "is cut off or no safetensors file" in line


@pytest.mark.parametrize("name", ["7.pt", "model_final.pt", "weights.safetensors"])
def test_a_finished_crosscoder_is_here_as_a_folder_and_as_a_file(tmp_path: Path, name: str) -> None:
    def found(path: Path) -> bool:
        overrides = ["+experiment=tiny", "crosscoder=pretrained", f"crosscoder.path={path}"]
        crosscoder = compose(overrides).crosscoder
        assert crosscoder.kind == "pretrained"
        return is_here(crosscoder)

    assert not found(tmp_path)
    (tmp_path / name).touch()
    assert found(tmp_path)
    assert found(tmp_path / name)


def test_rounds_of_the_published_run_fit_300_gigabytes() -> None:
    costs = estimate(compose(["+experiment=gemma_one_card"]), H200)
    assert peak_disk(costs) < 250e9
    by_stage = {cost.stage: cost for cost in costs}
    assert by_stage["dump"].disk_bytes == pytest.approx(18.5e9, rel=0.01)  # held-out rows alone
    assert by_stage["train"].scratch_bytes == pytest.approx(2 * 93.3e9, rel=0.03)
    stored = {cost.stage: cost for cost in estimate(gemma(), H200)}
    assert by_stage["changes"].seconds > stored["changes"].seconds
    assert by_stage["train"].seconds > stored["train"].seconds


def test_an_epoch_more_computes_the_rows_once_more() -> None:
    def added(n_epochs: int) -> float:
        overrides = ["+experiment=gemma_one_card", f"train.n_rows={n_epochs * 400_000_000}"]
        in_rounds = compose(overrides)
        costs = [estimate(each, LAPTOP) for each in (in_rounds, in_rounds_of(in_rounds, None))]
        with_, without = (next(c.seconds for c in of if c.stage == "train") for of in costs)
        return with_ - without

    assert added(2) == pytest.approx(2 * added(1), rel=0.01)


@pytest.mark.parametrize("free", [300e9, 1000e9])
def test_the_proposed_rounds_fill_the_free_disk_and_no_more(free: float) -> None:
    machine = dataclasses.replace(H200, free_disk_bytes=int(free))
    rows = round_that_fits(gemma(), machine)
    assert rows is not None
    peak = peak_disk(estimate(in_rounds_of(gemma(), rows), machine))
    assert 0.8 * free < peak < 0.92 * free
    told = ways_table(gemma(), machine)
    assert f"dump.rows_per_round={rows} dump.scatter_seed=null" in told
    assert "7.42 TB" in told


def test_rates_are_measured_once_and_read_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "LOGS", tmp_path)
    monkeypatch.setattr(measure, "REPEATED_SECONDS", 0.0)
    monkeypatch.setattr(measure, "N_DOCUMENTS", 5)
    monkeypatch.setattr(measure, "start", lambda: None)
    config = compose(["+experiment=smoke", "crosscoder=batch_topk_k16", "train.batch_rows=64"])
    found = rates_here(config, LAPTOP)
    assert found is not None
    # 100 GFLOP/s and 100 MFLOP/s lie far outside of what one thread does here.
    assert all(1e-11 < rate < 1e-8 for rate in (found.forward, found.head, found.fit, found.write))
    assert found.byte == 1 / LAPTOP.disk_bytes_per_second
    monkeypatch.delattr(measure.Probes, "all")
    assert rates_here(config, LAPTOP) == found
    with pytest.raises(AttributeError):  # other steps are measured anew
        rates_here(compose(["+experiment=smoke"]), LAPTOP)


def test_a_stage_takes_its_work_at_the_measured_rates() -> None:
    """Twice the seconds per operation are twice the time but for the starts, whatever the stage."""
    config, rates = compose(["+experiment=tiny"]), measured_rates()
    slow = replace(rates, **{n: 2 * v for n, v in vars(rates).items() if n != "start"})
    once, twice = (estimate(config, LAPTOP, each) for each in (rates, slow))
    for one, two in zip(once, twice, strict=True):
        starts = 2 * one.seconds - two.seconds
        assert starts == pytest.approx(round(starts / rates.start, 2) * rates.start, rel=0.01)
    dump = next(cost for cost in once if cost.stage == "dump")
    passes = 2 * 2 * 3 * 197_000 * (400_050 + 40_132)  # two models of three blocks, by hand
    assert dump.seconds == pytest.approx(2 * rates.start + passes * rates.forward, rel=0.05)


def test_every_stage_of_the_graph_has_a_line_or_costs_nothing() -> None:
    lines = {
        cost.stage
        for name in ("smoke", "planted")
        for cost in estimate(compose([f"+experiment={name}"]), LAPTOP)
    }
    stages = set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
    assert stages - lines == {"code", "compose", "local_files"}
    assert lines <= stages


def test_sentences_of_a_local_writer_take_time_and_those_of_an_endpoint_only_ask(
    tmp_path: Path,
) -> None:
    def seconds(*overrides: str) -> float:
        config = compose(["+experiment=tiny", *overrides])
        costs = estimate(config, LAPTOP, measured_rates())
        return next(cost.seconds for cost in costs if cost.stage == "explain")

    folder = family_folder(tmp_path / "writer", "llama")
    local = seconds("explain/writer=local", f"explain.writer.path={folder}")
    assert local > seconds() == seconds("explain/writer=endpoint")


def measured_rates() -> Rates:
    """Such as one thread of a CPU has."""
    return Rates(4.0, 4e-9, 3e-6, 4e-11, 5e-11, 3e-11, 9e-11, 3e-5, 1e-5, 2e-11)


def test_a_disk_without_room_for_two_batches_is_told() -> None:
    machine = dataclasses.replace(H200, free_disk_bytes=10**9)
    assert "no size of round fits the 1 GB" in ways_table(gemma(), machine)
