import torch

from idgen.models.text import TextStates


def test_pooling_leaves_padding_out() -> None:
    states = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [100.0, 100.0]]])
    mask = torch.tensor([[True, True, False]])
    torch.testing.assert_close(TextStates(states, mask).pooled(), torch.tensor([[2.0, 3.0]]))
