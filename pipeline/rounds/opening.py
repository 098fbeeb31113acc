"""The training rows of an experiment, stored whole or made in rounds."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from pipeline.artifacts import WORK_DIR, clear_space_errors, lock_beside, locked, manifest_digest
from pipeline.config import Config
from pipeline.distributed import ALONE, Ranks
from pipeline.paths import in_main_tree
from pipeline.rounds.descriptor import Described, are_rounds
from pipeline.rounds.source import RoundRows, remove_rounds
from pipeline.stage import DATA, SHUFFLED
from pipeline.store import StoreReader

MAKING = "pipeline.rounds.making"
"""Named here and not imported: see that module."""


@dataclass(frozen=True)
class TrainingRows:
    """source: all training rows in order; rounds: what makes them, None where all are stored."""

    source: StoreReader | RoundRows
    rounds: RoundRows | None

    @property
    def n_sample_rows(self) -> int:
        """Rows of `sample`, which need not be made to know it."""
        return self.source.n_rows if self.rounds is None else self.rounds.n_first_rows

    @property
    def sample(self) -> StoreReader:
        """Rows to take a sample from: all, or those of the first round, whose sequences are a
        uniform sample themselves."""
        return self.source if isinstance(self.source, StoreReader) else self.source.first()


@contextmanager
def training_rows(
    config: Config, ranks: Ranks = ALONE, *, n_threads: int = 2
) -> Iterator[TrainingRows]:
    """Open the rows that `shuffle` has published, as a store or as a descriptor.

    Rounds go when the caller is done with them, and stay where it was stopped.
    ranks: the processes that open them at the same time, ask for the same batches, and make rounds
    together
    Raises BusyError where another job works with the same rounds.
    """
    if not are_rounds(SHUFFLED):
        with StoreReader.open(SHUFFLED, n_threads=n_threads) as reader:
            yield TrainingRows(reader, None)
        return
    folder, described = rounds_folder(config), Described.read(SHUFFLED)
    with clear_space_errors(folder), ExitStack() as held:
        # Of several processes the first has the lock, and takes away what all are done with.
        ranks.from_first(lambda: held.enter_context(_locked(folder)))
        with (
            import_module(MAKING).Maker(config, ranks) as maker,
            RoundRows(described, config.shuffle.seed, folder, maker, n_threads, ranks) as rows,
        ):
            yield TrainingRows(rows, rows)
        ranks.meet()
        if ranks.is_first:
            _remove(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with locked(lock_beside(folder)):
        folder.mkdir(exist_ok=True)
        yield


def _remove(folder: Path) -> None:
    remove_rounds(folder)
    folder.rmdir()


def rounds_folder(config: Config) -> Path:
    """Where the rounds of the present descriptor lie while they exist. Its digest tells them from
    those of other models, tokens, seeds or code."""
    runtime = config.runtime
    place = runtime.rounds_dir or runtime.bulk_dir
    root = in_main_tree(place) if place else DATA
    return root / WORK_DIR / f"rounds-{manifest_digest(SHUFFLED)[:16]}"


def clear_rounds(config: Config) -> None:
    """Remove the rounds that a run left which was killed after its last use of them."""
    if are_rounds(SHUFFLED) and (folder := rounds_folder(config)).exists():
        with clear_space_errors(folder), _locked(folder):
            _remove(folder)
