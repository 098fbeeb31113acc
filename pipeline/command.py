"""What every command shares: --help, mistakes in one line, signals, a sign of life, a last line."""

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline import interruption
from pipeline.artifacts import clear_space_errors
from pipeline.distributed import check_processes, is_first_to_tell
from pipeline.errors import PipelineError
from pipeline.interruption import WORDS, Interrupted
from pipeline.progress import sign_of_life

HELP = {"-h", "--help"}
FOREIGN_BREAK = re.compile(r"\n(?! {7})")
MISTAKE = 2
BROKEN_PIPE = 128 + 13


def command(
    name: str,
    main: Callable[[list[str]], None],
    *,
    doc: str | None = None,
    sections: Sequence[str] = (),
    resumes: bool = False,
    is_parallel: bool = False,
) -> None:
    """Run `python -m stages.<name>` with what was typed after it.

    What a user can mend ends in one line and exit status 2, a signal in one line and 128 plus its
    number; of several processes the first to fail tells.

    doc: the text of --help, else the docstring of the module of `main`
    sections: of the configuration that decide the output; resumes: whether work in its folder is
    taken up by the next run
    is_parallel: whether several processes of `torchrun` can do it together; else they are refused
    """
    open_closed_streams()
    typed = sys.argv[1:]
    if HELP & set(typed):
        from pipeline.command_help import help_text

        sys.stdout.write(help_text(doc or getattr(main, "__globals__", {})["__doc__"], sections))
        return
    try:
        with interruption.listening(), sign_of_life(name), clear_space_errors(Path()):
            check_processes(name, is_parallel=is_parallel)
            main(typed)
            sys.stdout.flush()
    except PipelineError as error:
        tell(f"error: {legible(str(error))}\n")
        sys.exit(MISTAKE)
    except Interrupted as stopped:
        tell(f"{name}: {words_on(stopped, resumes)}\n")
        sys.exit(128 + stopped.number)
    except BrokenPipeError:
        # Whoever read the output has gone, as `head` does; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)


def open_closed_streams() -> None:
    """Let output go nowhere where whoever started this closed its stream, as `>&-` does."""
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:
            setattr(sys, stream, Path(os.devnull).open("w"))  # noqa: SIM115


def legible(message: str) -> str:
    """The message without signs that would break its line or steer a terminal, as a file's name or
    a library's report can hold them: they are written as their code. What is wrong with further
    values stands on lines of its own, which are indented."""
    whole = FOREIGN_BREAK.sub(r"\\n", message)
    return "".join(
        sign if sign.isprintable() or sign == "\n" else sign.encode("unicode_escape").decode()
        for sign in whole
    )


def words_on(stopped: Interrupted, resumes: bool) -> str:
    """What was lost and what was not."""
    how = f"stopped by {WORDS[interruption.signal.Signals(stopped.number)]}"
    if stopped.kept and resumes:
        kept = ", ".join(map(str, stopped.kept))
        return f"{how}; what is done is kept in {kept}: run the same command again to go on"
    return f"{how}; nothing was finished: the same command begins anew"


def tell(message: str) -> None:
    """Write to the terminal, unless another process of the job told of an error before."""
    if is_first_to_tell():
        sys.stderr.write(message)
        sys.stderr.flush()


def named(paths: Sequence[Path], most: int = 4) -> str:
    """`a, b and 3 more`."""
    few = ", ".join(str(path) for path in paths[:most])
    return few if len(paths) <= most else f"{few} and {len(paths) - most} more"
