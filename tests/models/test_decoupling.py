import torch

from idgen.models.decoupling import ImplicitDecoupling


def test_it_is_the_formula() -> None:
    torch.manual_seed(0)
    adapter = ImplicitDecoupling(8)
    torch.nn.init.normal_(adapter.mask)
    photo = torch.randn(3, 8)
    gated = 1 / (1 + torch.exp(-adapter.mask)) * photo
    first, second = adapter.mlp[0], adapter.mlp[2]
    assert isinstance(first, torch.nn.Linear)
    assert isinstance(second, torch.nn.Linear)
    hidden = (gated @ first.weight.T + first.bias).clamp(min=0)
    expected = gated + hidden @ second.weight.T + second.bias
    torch.testing.assert_close(adapter(photo), expected)


def test_the_mask_starts_half_open() -> None:
    torch.testing.assert_close(torch.sigmoid(ImplicitDecoupling(8).mask), torch.full((8,), 0.5))


def test_it_has_disenbooths_size_at_sd21s_width() -> None:
    """DisenBooth reports 2,100,224 parameters for the adapter at D = 1024."""
    assert sum(p.numel() for p in ImplicitDecoupling(1024).parameters()) == 2_100_224
