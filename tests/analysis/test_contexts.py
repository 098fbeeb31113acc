import numpy as np
import torch

from pipeline.analysis.contexts import TopContexts, contexts_of


def labels(n_rows: int, start: int, n_per_document: int = 4) -> dict[str, np.ndarray]:
    at = np.arange(start, start + n_rows)
    return {
        "sequence": np.zeros(n_rows, np.int32),
        "position": at.astype(np.int32),
        "document": (at // n_per_document).astype(np.int32),
        "source": np.ones(n_rows, np.uint8),
        "token_class": (at % 2).astype(np.uint8),
    }


def test_the_strongest_rows_of_all_batches_are_kept_one_per_document() -> None:
    f = torch.zeros(24, 3)
    f[:, 2] = torch.tensor([1.0, 9.0, 8.0, 2.0] + [0.0] * 8 + [5.0] + [0.0] * 7 + [7.0, 0, 0, 0])
    top = TopContexts(np.array([2]), n_contexts=3)
    for at in range(0, 24, 6):
        top.see(f[at : at + 6], labels(6, at))
    found = top.places(2)
    assert [(place["value"], place["position"]) for place in found] == [(9, 1), (7, 20), (5, 12)]


def test_a_latent_that_never_fires_has_no_example() -> None:
    top = TopContexts(np.array([0]), n_contexts=3)
    top.see(torch.zeros(4, 1), labels(4, 0))
    assert top.places(0) == []


def test_an_example_shows_the_text_around_the_token() -> None:
    top = TopContexts(np.array([1]), n_contexts=1)
    f = torch.zeros(8, 2)
    f[5, 1] = 3.0
    top.see(f, labels(8, 0))
    found = contexts_of(
        top,
        np.array([1, 7]),
        read_sequence=lambda _: np.arange(100, 108),
        decode=lambda ids: " ".join(map(str, ids)),
        n_context_tokens=4,
    )
    assert list(found) == ["1"]
    example = found["1"][0]
    assert (example["before"], example["token"], example["after"]) == (
        "101 102 103 104",
        "105",
        "106 107",
    )
    assert (example["source"], example["token_class"]) == ("chat", "template")
