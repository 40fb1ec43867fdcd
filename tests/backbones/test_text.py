import torch

from idgen.backbones.text import TextStates


def test_pooling_leaves_padding_out() -> None:
    states = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [100.0, 100.0]]])
    mask = torch.tensor([[True, True, False]])
    torch.testing.assert_close(TextStates(states, mask).mean(), torch.tensor([[2.0, 3.0]]))


def test_one_prompt_is_repeated_before_others() -> None:
    one = TextStates(torch.zeros(1, 3, 2), torch.zeros(1, 3, dtype=torch.bool))
    two = TextStates(torch.ones(2, 3, 2), torch.ones(2, 3, dtype=torch.bool))
    both = one.then(two)
    assert both.states[:, 0, 0].tolist() == [0, 0, 1, 1]
    assert both.mask[:, 0].tolist() == [False, False, True, True]


def test_equal_prompts_are_rows_of_one_and_the_pooled_vector_goes_along() -> None:
    states, mask = torch.arange(6.0).view(2, 3, 1), torch.ones(2, 3, dtype=torch.bool)
    texts = TextStates(states, mask, torch.tensor([[7.0], [8.0]]))
    rows = texts.rows([1, 1, 0])
    assert rows.states[:, 0, 0].tolist() == [3, 3, 0]
    assert rows.pooled is not None
    assert rows.pooled.flatten().tolist() == [8, 8, 7]
    both = texts.rows([0]).then(texts)
    assert both.pooled is not None
    assert both.pooled.flatten().tolist() == [7, 7, 7, 8]
    assert texts.rows([0, 1]) is texts
