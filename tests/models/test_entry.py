import pytest
import torch

from idgen.backbones.text import TextStates
from idgen.models.entry import Entrance, FeatureEntry

WIDTH = 8


def inputs() -> tuple[TextStates, torch.Tensor]:
    """Two prompts, of which the second has two tokens of padding, and a feature each."""
    torch.manual_seed(0)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    return TextStates(torch.randn(2, 5, WIDTH), mask), 7 * torch.randn(2, WIDTH)


def test_added_it_is_the_papers_sum() -> None:
    text, feature = inputs()
    f_com = Entrance(WIDTH)(text, feature)
    assert torch.equal(f_com.states, text.states + feature[:, None])
    half = Entrance(WIDTH, scale=0.5)(text, feature, weight=0.5)
    torch.testing.assert_close(half.states, text.states + 0.25 * feature[:, None])


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_normed_it_is_as_long_as_the_real_tokens_are_in_the_mean(scale: float) -> None:
    text, feature = inputs()
    entrance = Entrance(WIDTH, FeatureEntry.normed, scale)
    added = (entrance(text, feature).states - text.states)[:, 0]
    for row, real in enumerate((5, 3)):
        norms = [float(token.norm()) for token in text.states[row, :real]]
        assert float(added[row].norm()) == pytest.approx(scale * sum(norms) / real, rel=1e-5)
    torch.testing.assert_close(torch.cosine_similarity(added, feature), torch.ones(2))
    torch.testing.assert_close(entrance(text, 9 * feature).states, entrance(text, feature).states)


def test_the_tokens_norm_takes_no_gradient() -> None:
    text, feature = inputs()
    states = text.states.requires_grad_()
    Entrance(WIDTH, FeatureEntry.normed)(text.with_states(states), feature).states.sum().backward()
    torch.testing.assert_close(states.grad, torch.ones_like(states))


def test_a_feature_of_nothing_is_no_division_by_zero() -> None:
    text, feature = inputs()
    f_com = Entrance(WIDTH, FeatureEntry.normed)(text, 0 * feature)
    assert torch.equal(f_com.states, text.states)


def test_as_a_token_it_stands_behind_the_prompt() -> None:
    text, feature = inputs()
    entrance = Entrance(WIDTH, FeatureEntry.token)
    f_com = entrance(text, feature)
    assert f_com.states.shape == (2, 6, WIDTH)
    assert torch.equal(f_com.states[:, :5], text.states)
    assert torch.equal(f_com.mask[:, :5], text.mask)
    assert f_com.mask[:, 5].all()
    normed = Entrance(WIDTH, FeatureEntry.normed)(text, feature).states - text.states
    torch.testing.assert_close(f_com.states[:, 5], normed[:, 0])
    f_com.states.sum().backward()
    [kind] = entrance.parameters()
    assert kind.shape == (WIDTH,)
    assert kind.grad is not None
    one = entrance(text, feature[:1], weight=0.5)
    torch.testing.assert_close(one.states[0, 5], 0.5 * f_com.states[0, 5])


def test_no_other_way_in_has_weights() -> None:
    for entry in (FeatureEntry.add, FeatureEntry.normed):
        assert not list(Entrance(WIDTH, entry).parameters())


def test_left_out_a_batch_has_no_token_and_the_learnt_vector_a_gradient() -> None:
    text, feature = inputs()
    entrance = Entrance(WIDTH, FeatureEntry.token)
    torch.manual_seed(0)
    outcomes = [entrance(text, feature, dropout=0.5) for _ in range(64)]
    bare = [f_com for f_com in outcomes if f_com.states.shape[1] == 5]
    assert 20 < len(bare) < 44
    assert all(torch.equal(f_com.states, text.states) for f_com in bare)
    bare[0].states.sum().backward()
    assert entrance.kind is not None
    torch.testing.assert_close(entrance.kind.grad, torch.zeros(WIDTH))


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), float("nan")])
def test_a_scale_that_is_none_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="entry_scale must be finite and above 0"):
        Entrance(WIDTH, scale=scale)
