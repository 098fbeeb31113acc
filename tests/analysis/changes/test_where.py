"""On which tokens, and in which sources, a change acts."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.analysis.changes.latents import Where


class Letters:
    """Token 0 is a, 1 is b, and so on."""

    def single(self, token_id: int) -> str:
        return chr(ord("a") + token_id)


ROWS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 1), st.sampled_from((0.0, -2.0, 1.0, 3.0))),
    min_size=1,
    max_size=30,
)


@settings(max_examples=30, deadline=None)
@given(ROWS, st.integers(1, 7))
def test_shares_are_those_of_the_squares_however_rows_are_batched(
    rows: list[tuple[int, int, float]], size: int
) -> None:
    where = Where()
    for start in range(0, len(rows), size):
        token, source, h = (
            np.array(column) for column in zip(*rows[start : start + size], strict=True)
        )
        where.see(token, source, h)
    total = sum(h * h for *_, h in rows)
    expected = {
        chr(ord("a") + token): sum(h * h for t, _, h in rows if t == token) / total
        for token in {t for t, _, h in rows if h}
    }
    found = where.tokens(Letters(), 9)  # type: ignore[arg-type]
    assert dict(found) == expected
    assert [share for _, share in found] == sorted(expected.values(), reverse=True)
    in_chat = sum(h * h for _, source, h in rows if source == 1) / total if total else 0.0
    assert dict(where.sources(("pile", "chat")))["chat"] == in_chat
