import torch

from idgen.models.text import TextStates


def test_pooling_leaves_padding_out() -> None:
    states = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [100.0, 100.0]]])
    mask = torch.tensor([[True, True, False]])
    torch.testing.assert_close(TextStates(states, mask).pooled(), torch.tensor([[2.0, 3.0]]))


def test_one_prompt_is_repeated_before_others() -> None:
    one = TextStates(torch.zeros(1, 3, 2), torch.zeros(1, 3, dtype=torch.bool))
    two = TextStates(torch.ones(2, 3, 2), torch.ones(2, 3, dtype=torch.bool))
    both = one.then(two)
    assert both.states[:, 0, 0].tolist() == [0, 0, 1, 1]
    assert both.mask[:, 0].tolist() == [False, False, True, True]
