import pytest
import torch

from idgen.backbones.text import TextStates
from idgen.models.fusion import ExpertFusion, Routing, expert_load, router_entropy


def trained(
    experts: int, routing: Routing = Routing.token, low_rank: int | None = None
) -> ExpertFusion:
    """A fusion module whose experts are no longer the identity."""
    torch.manual_seed(0)
    fusion = ExpertFusion(16, experts, routing=routing, low_rank=low_rank)
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter)
    return fusion


def combined() -> TextStates:
    """f_com of two prompts, whose last one and two tokens are padding."""
    mask = torch.tensor([[True] * 4 + [False], [True] * 3 + [False] * 2])
    return TextStates(torch.randn(2, 5, 16), mask)


@pytest.mark.parametrize("low_rank", [None, 3])
@pytest.mark.parametrize("routing", list(Routing))
def test_it_is_the_identity_at_the_start(routing: Routing, low_rank: int | None) -> None:
    f_com = combined()
    fusion = ExpertFusion(16, 4, routing=routing, low_rank=low_rank)
    torch.testing.assert_close(fusion(f_com).refined, f_com.states)


@pytest.mark.parametrize("routing", list(Routing))
def test_gates_sum_to_one_for_each_token(routing: Routing) -> None:
    gates = trained(4, routing)(combined()).gates
    assert gates.shape == (2, 5, 4)
    torch.testing.assert_close(gates.sum(dim=-1), torch.ones(2, 5))


@pytest.mark.parametrize("low_rank", [None, 3])
@pytest.mark.parametrize("routing", list(Routing))
def test_refined_is_the_gated_sum_of_the_experts(routing: Routing, low_rank: int | None) -> None:
    fusion, f_com = trained(3, routing, low_rank), combined()
    refined, gates, residuals = fusion(f_com)
    expected = torch.zeros_like(f_com.states)
    for batch in range(2):
        for token in range(5):
            for index, expert in enumerate(fusion.experts):
                feature = f_com.states[batch, token]
                added = expert(feature)
                torch.testing.assert_close(residuals[index][batch, token], added)
                expected[batch, token] += gates[batch, token, index] * (feature + added)
    torch.testing.assert_close(refined, expected, rtol=1e-4, atol=1e-4)


def test_all_tokens_of_a_picture_have_the_gates_of_its_real_tokens_mean() -> None:
    fusion, f_com = trained(3, Routing.picture), combined()
    gates = fusion(f_com).gates
    for row, real in enumerate((4, 3)):
        of_mean = fusion.router(f_com.states[row, :real].mean(dim=0)).softmax(dim=-1)
        torch.testing.assert_close(gates[row], of_mean.expand(5, 3))
    padded = f_com.with_states(f_com.states + 9 * ~f_com.mask.unsqueeze(-1))
    torch.testing.assert_close(fusion(padded).gates, gates)
    assert not torch.allclose(trained(3)(f_com).gates[0, 0], trained(3)(f_com).gates[0, 1])


def test_a_low_rank_expert_adds_a_matrix_of_its_rank() -> None:
    [expert] = trained(1, low_rank=3).experts
    added = expert(torch.eye(16))
    assert torch.linalg.matrix_rank(added) == 3
    features = torch.randn(4, 16)
    torch.testing.assert_close(expert(features), features @ added, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("low_rank", [0, 17])
def test_a_rank_that_is_none_is_refused(low_rank: int) -> None:
    with pytest.raises(ValueError, match="low_rank must be from 1 to 16"):
        ExpertFusion(16, 2, low_rank=low_rank)


@pytest.mark.parametrize("low_rank", [None, 3])
@pytest.mark.parametrize("routing", list(Routing))
def test_every_expert_and_the_router_get_a_gradient(routing: Routing, low_rank: int | None) -> None:
    fusion = trained(4, routing, low_rank)
    fusion(combined()).refined.square().sum().backward()
    for name, parameter in fusion.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_load_and_entropy_tell_an_undecided_router_from_a_collapsed_one() -> None:
    even = torch.full((2, 5, 4), 0.25)
    one = torch.zeros(2, 5, 4)
    one[..., 2] = 1
    torch.testing.assert_close(expert_load(even), torch.full((4,), 0.25))
    torch.testing.assert_close(expert_load(one), torch.tensor([0.0, 0, 1, 0]))
    assert router_entropy(even).item() == pytest.approx(1, abs=1e-6)
    assert router_entropy(one).item() == pytest.approx(0, abs=1e-6)


def test_no_expert_is_refused() -> None:
    with pytest.raises(ValueError, match="experts"):
        ExpertFusion(16, 0)
