"""What a user does wrong is answered in one line: where, found, expected, remedy; no traceback."""

from pathlib import Path

import pytest

from tests.mistakes import commands, configuration, inputs, machine, texts, tokenizers
from tests.mistakes.table import Mistake, as_a_process, check, in_this_process, laid_out

TYPED = [*configuration.MISTAKES, *commands.MISTAKES, *inputs.MISTAKES]
MISTAKES = [*TYPED, *texts.MISTAKES, *tokenizers.MISTAKES, *machine.MISTAKES]
AS_PROCESSES = TYPED[:: max(1, len(TYPED) // 22)]
"""Every so many-th row is typed into a shell too."""


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_a_mistake_is_answered_in_one_line(mistake: Mistake, tmp_path: Path) -> None:
    laid_out(mistake, tmp_path)
    check(mistake, *in_this_process(mistake, tmp_path))


@pytest.mark.parametrize("mistake", AS_PROCESSES, ids=str)
def test_so_it_is_where_a_user_types_it(mistake: Mistake, tmp_path: Path) -> None:
    laid_out(mistake, tmp_path)
    check(mistake, *as_a_process(mistake, tmp_path))


def test_the_table_is_long_and_no_mistake_is_in_it_twice() -> None:
    assert len({mistake.name for mistake in MISTAKES}) == len(MISTAKES) >= 100
    assert len(AS_PROCESSES) >= 20
