import pytest
import torch

from idgen.processes import FadingBackground


@pytest.mark.parametrize("gamma", [1.0, 32.0])
def test_it_fades_from_start_to_end(gamma: float) -> None:
    fading = FadingBackground(0.5, 0.1, gamma)
    strengths = [fading.strength(step / 100) for step in range(101)]
    assert strengths[0] == 0.5
    assert strengths[-1] == pytest.approx(0.1)
    assert strengths == sorted(strengths, reverse=True)
    assert fading.strength(1.5) == strengths[-1]
    half = 0.1 + 0.4 * (1 - 0.5**gamma)
    assert strengths[50] == pytest.approx(half)


def test_the_subject_stays_and_noise_is_as_strong_as_it_is_said_to_be() -> None:
    torch.manual_seed(0)
    clean, mask = torch.randn(2, 4, 64, 64), torch.zeros(2, 1, 64, 64)
    mask[:, :, :20], mask[:, :, 20:40] = 1.0, 0.5
    added = FadingBackground()(clean, mask, 0.5) - clean
    assert added[:, :, :20].eq(0).all()
    assert added[:, :, 20:40].std().item() == pytest.approx(0.25, rel=0.03)
    assert added[:, :, 40:].std().item() == pytest.approx(0.5, rel=0.03)
    assert torch.equal(FadingBackground()(clean, mask, 0.0), clean)


@pytest.mark.parametrize(
    "values",
    [(0.1, 0.5, 1.0), (0.5, -0.1, 1.0), (float("inf"), 0.0, 1.0), (0.5, 0.0, 0.0)],
)
def test_what_does_not_fade_is_refused(values: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="FadingBackground: "):
        FadingBackground(*values)
