"""What is counted of a model without its weights."""

from pathlib import Path

import pytest

from pipeline.models.configuration import read_configuration
from pipeline.models.size import size_from
from tests.models.families import family_folder, random_family


@pytest.mark.parametrize("family", ["gpt2", "opt", "bloom", "falcon", "mixtral"])
def test_the_size_of_any_family_is_that_of_its_model(tmp_path: Path, family: str) -> None:
    size = size_from(read_configuration(family_folder(tmp_path, family)))
    assert (size.d_model, size.n_layers, size.vocab_size) == (16, 4, 300)
    assert size.n_parameters == sum(p.numel() for p in random_family(family).parameters())


def test_a_mixture_of_experts_costs_what_its_chosen_experts_cost(tmp_path: Path) -> None:
    def active(n_chosen: int) -> float:
        folder = family_folder(tmp_path / str(n_chosen), "mixtral", num_experts_per_tok=n_chosen)
        return size_from(read_configuration(folder)).n_active_parameters

    experts = 4 * 3 * 16 * 24  # four experts of three matrices
    assert active(4) - active(1) == 3 / 4 * experts
