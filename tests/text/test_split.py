import pytest

from pipeline.labels import HELDOUT, TRAIN
from pipeline.text.split import Selection, split_of


def test_a_document_is_on_exactly_one_side() -> None:
    sides = [Selection(split, 0.3, 7) for split in (TRAIN, HELDOUT)]
    for document in range(500):
        assert sum(side.keeps(document, "pile") for side in sides) == 1


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5])
def test_the_held_out_share_is_the_fraction(fraction: float) -> None:
    n = 20_000
    heldout = sum(split_of(i, "pile", fraction, 0) == HELDOUT for i in range(n))
    assert abs(heldout / n - fraction) < 5 * (fraction * (1 - fraction) / n) ** 0.5


def test_the_split_depends_on_seed_and_source() -> None:
    def side(name: str, seed: int) -> list[int]:
        return [split_of(i, name, 0.5, seed) for i in range(200)]

    assert side("pile", 0) == side("pile", 0)
    assert side("pile", 0) != side("pile", 1)
    assert side("pile", 0) != side("chat", 0)


def test_the_split_of_a_document_is_the_one_of_every_earlier_release() -> None:
    assert [split_of(i, "pile", 0.25, 49) for i in range(12)] == [
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
    ]
