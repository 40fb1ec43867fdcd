"""What is done by hand on an accelerator."""

from unittest.mock import patch

import pytest
import torch

from idgen.devices import seed_randomness


def test_on_a_cpu_random_numbers_are_those_of_torchs_own_seeding() -> None:
    torch.manual_seed(7)
    expected = torch.randn(5)
    torch.randn(3)
    with patch("torch.manual_seed") as whole:
        seed_randomness(7, torch.device("cpu"))
        assert torch.equal(torch.randn(5), expected)
    whole.assert_not_called()


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_an_accelerators_generators_are_seeded_too(kind: str) -> None:
    with patch("torch.manual_seed") as whole:
        seed_randomness(7, torch.device(kind))
    whole.assert_called_once_with(7)
