import pytest
import torch

from idgen.models.fusion import ExpertFusion, expert_load, router_entropy


def trained(experts: int) -> ExpertFusion:
    """A fusion module whose experts are no longer the identity."""
    torch.manual_seed(0)
    fusion = ExpertFusion(16, experts)
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter)
    return fusion


def test_it_is_the_identity_at_the_start() -> None:
    combined = torch.randn(2, 5, 16)
    torch.testing.assert_close(ExpertFusion(16, 4)(combined).refined, combined)


def test_gates_sum_to_one_for_each_token() -> None:
    gates = trained(4)(torch.randn(2, 5, 16)).gates
    assert gates.shape == (2, 5, 4)
    torch.testing.assert_close(gates.sum(dim=-1), torch.ones(2, 5))


def test_refined_is_the_gated_sum_of_the_experts() -> None:
    fusion, combined = trained(3), torch.randn(2, 5, 16)
    refined, gates = fusion(combined)
    expected = torch.zeros_like(combined)
    for batch in range(2):
        for token in range(5):
            for index, expert in enumerate(fusion.experts):
                share = gates[batch, token, index]
                expected[batch, token] += share * expert(combined[batch, token])
    torch.testing.assert_close(refined, expected, rtol=1e-4, atol=1e-5)


def test_every_expert_and_the_router_get_a_gradient() -> None:
    fusion = trained(4)
    fusion(torch.randn(2, 5, 16)).refined.square().sum().backward()
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
