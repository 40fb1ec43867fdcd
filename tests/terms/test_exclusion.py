"""The exclusion loss in a training step."""

import pytest
import torch
from torch.nn.functional import mse_loss

from idgen.backbones import StableDiffusionBackbone
from idgen.backbones.backbone import FeatureSpace
from idgen.backbones.text import TextStates
from idgen.data.batch import ShownPhotos, SubjectBatch
from idgen.errors import UserError
from idgen.models.conditioning import Conditioning, TextOnly
from idgen.models.residual_tokens import ResidualTokens
from idgen.models.tuning import LayerTuning, LoraTuning
from idgen.module import PersonalizationModule
from idgen.terms import Diffusion, Exclusion, Term
from idgen.terms.objective import Objective
from tests.test_module import configured, encoded, make_batch, noised, perturb

NUMBERS = torch.tensor([0, 1])


def three_photos(space: FeatureSpace) -> Conditioning:
    return ResidualTokens(space, photos=3, tokens=2)


def batch_of_two(backbone: StableDiffusionBackbone, total: int) -> SubjectBatch:
    return make_batch(backbone, with_prior=False)._replace(photos=ShownPhotos(NUMBERS, total))


def test_another_photos_tokens_are_to_change_nothing(backbone: StableDiffusionBackbone) -> None:
    """Of two photos the other is known: its tokens against the frozen empty prompt."""
    batch = batch_of_two(backbone, 2)
    torch.manual_seed(5)
    noisy, times, _ = noised(backbone, batch.latent_mean)
    with torch.no_grad():
        nothing = backbone.predict(noisy, times, encoded(backbone, ("", "")))
    module = configured(backbone, three_photos, {"exclusion": Exclusion(0.5)})
    perturb(module)
    tokens = module.conditioning.get_parameter("residual.weight").view(3, 2, -1)
    empty = encoded(backbone, ("", ""))
    states = torch.cat([empty.states, tokens[[1, 0]]], dim=1)
    prediction = backbone.predict(noisy, times, TextStates(states, empty.mask))
    torch.manual_seed(5)
    total = module.training_step(batch, 0)
    torch.testing.assert_close(total, 0.5 * mse_loss(prediction, nothing))
    total.backward()  # type: ignore[no-untyped-call]
    assert tokens.grad_fn is not None
    gradient = module.conditioning.get_parameter("residual.weight").grad
    assert gradient is not None
    assert gradient.any(dim=1).tolist() == [True, True, False]


def test_a_photos_own_tokens_are_never_those_of_another(
    backbone: StableDiffusionBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = configured(backbone, three_photos, {"exclusion": Exclusion()})
    drawn: list[torch.Tensor] = []
    joined = ResidualTokens.joined

    def noting(self: ResidualTokens, text: TextStates, numbers: torch.Tensor) -> TextStates:
        drawn.append(numbers)
        return joined(self, text, numbers)

    batch = batch_of_two(backbone, 3)
    with monkeypatch.context() as patched:
        patched.setattr(ResidualTokens, "joined", noting)
        for seed in range(12):
            torch.manual_seed(seed)
            module.training_step(batch, 0)
    others = torch.stack(drawn[1::2])  # every first is the photo's own, for f_r
    assert not (others == NUMBERS).any()
    assert {*others[:, 0].tolist()} == {1, 2}
    assert {*others[:, 1].tolist()} == {0, 2}


def test_without_residual_tokens_it_does_nothing() -> None:
    space = FeatureSpace(8)
    given: dict[str, Term | None] = {"diffusion": Diffusion(), "mine": Exclusion()}
    with pytest.warns(UserWarning, match=r"terms\.mine does nothing: .*no residual tokens"):
        assert list(Objective(given, TextOnly(space), LoraTuning()).terms) == ["diffusion"]
    with pytest.raises(UserError, match=r"Exclusion needs .* LayerTuning overwrites"):
        Objective(given, ResidualTokens(space), LayerTuning())


def test_photos_are_counted_before_work(backbone: StableDiffusionBackbone) -> None:
    terms: dict[str, Term | None] = {"diffusion": Diffusion(), "mine": Exclusion()}
    module = PersonalizationModule(backbone, LoraTuning(), three_photos, terms)
    module.check_photos(2)
    with pytest.raises(UserError, match=r"ResidualTokens\.photos: .* 3, .* 4 photos; set it to 4"):
        module.check_photos(4)
    with pytest.raises(UserError, match=r"terms\.mine: it needs 2 photos"):
        module.check_photos(1)
    shapes = module.trained_shapes
    assert shapes["conditioning.residual.weight"] == (3, 2 * backbone.features.width)
