import pytest
import torch

from idgen.backbones.backbone import FeatureSpace
from idgen.backbones.text import TextStates
from idgen.errors import UserError
from idgen.models.decoupling import PhotoFeatures
from idgen.models.residual_tokens import ResidualTokens

SPACE = FeatureSpace(8)


def inputs() -> tuple[TextStates, PhotoFeatures]:
    torch.manual_seed(0)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    return TextStates(torch.randn(2, 3, 8), mask), PhotoFeatures(*torch.randn(2, 2, 5))


def test_a_photos_tokens_stand_behind_its_prompt() -> None:
    text, photo = inputs()
    conditioning = ResidualTokens(SPACE, photos=4, tokens=2)
    refined = conditioning.of_photos(text, photo, torch.tensor([3, 1])).refined
    assert refined.states.shape == (2, 5, 8)
    assert torch.equal(refined.states[:, :3], text.states)
    assert torch.equal(refined.mask[:, :3], text.mask)
    assert refined.mask[:, 3:].all()
    own = conditioning.residual.weight.view(4, 2, 8)
    assert torch.equal(refined.states[:, 3:], own[[3, 1]])
    refined.states.sum().backward()  # type: ignore[no-untyped-call]
    gradient = conditioning.residual.weight.grad
    assert gradient is not None
    assert gradient.any(dim=1).tolist() == [False, True, False, True]


def test_a_photo_of_no_set_has_none() -> None:
    text, photo = inputs()
    conditioning = ResidualTokens(SPACE)
    assert conditioning.of_photos(text, photo, None).refined is text
    assert conditioning(text, photo).refined is text


def test_drawings_are_made_without_and_no_photo_can_be_kept() -> None:
    text, photo = inputs()
    conditioning = ResidualTokens(SPACE)
    assert conditioning.infer(text) is text
    assert conditioning.infer(text, photo, weight=0.0) is text
    with pytest.raises(UserError, match=r"ResidualTokens\) cannot keep"):
        conditioning.infer(text, photo, weight=0.5)


@pytest.mark.parametrize("sizes", [(0, 1), (1, 0)])
def test_none_is_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="photos and tokens must be 1 or more"):
        ResidualTokens(SPACE, *sizes)
