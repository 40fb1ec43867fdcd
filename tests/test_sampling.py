import pytest
import torch

from idgen.backbones import StableDiffusionBackbone
from idgen.models.conditioning import TextOnly
from idgen.sampling import DrawingRequest, Sampler, drawing_noise, to_uint8

CPU = torch.device("cpu")


def request(prompt: str = "a photo of a dog", number: int = 0, seed: int = 0) -> DrawingRequest:
    return DrawingRequest(prompt, prompt, 0, number, seed)


def test_noise_is_a_function_of_seed_prompt_and_number_alone() -> None:
    shape = (4, 8, 8)
    torch.manual_seed(1)
    first = drawing_noise(request(), shape)
    torch.manual_seed(2)
    assert torch.equal(first, drawing_noise(request(), shape))
    # Neither the prompt's place in its suite nor the subject's token counts.
    moved = DrawingRequest("a photo of a sks dog", "a photo of a dog", 7, 0, 0)
    assert torch.equal(first, drawing_noise(moved, shape))
    for other in (request("a dog"), request(number=1), request(seed=1)):
        assert not torch.equal(first, drawing_noise(other, shape))


def test_pixels_are_clipped_and_rounded() -> None:
    pixels = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0])
    assert to_uint8(pixels).tolist() == [0, 0, 128, 255, 255]


def test_each_step_has_noise_of_its_own() -> None:
    shape = (4, 8, 8)
    noises = [drawing_noise(request(number=n), shape, step) for n in (0, 1) for step in range(3)]
    for index, noise in enumerate(noises):
        assert not any(torch.equal(noise, other) for other in noises[:index])


@pytest.mark.parametrize("stochastic", [False, True])
def test_a_drawing_does_not_depend_on_its_batch(
    backbone: StableDiffusionBackbone, stochastic: bool
) -> None:
    sampler, method = Sampler(steps=3, stochastic=stochastic), TextOnly(backbone.features)
    requests = [request(number=number) for number in range(3)]
    together = sampler.draw(backbone, method, requests, CPU)
    alone = sampler.draw(backbone, method, requests[2:], CPU)
    assert together.requests == requests
    difference = together.images[2].int() - alone.images[0].int()
    assert difference.abs().max() <= 1
    assert not torch.equal(together.images[0], together.images[1])


def test_no_request_is_an_empty_batch(backbone: StableDiffusionBackbone) -> None:
    drawings = Sampler(steps=2).draw(backbone, TextOnly(backbone.features), [], CPU)
    assert drawings.images.shape == (0, 3, backbone.resolution, backbone.resolution)


@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_without_requests_a_split_denoiser_is_called_as_often_as_with_some(
    backbone: StableDiffusionBackbone, guidance: float
) -> None:
    calls: list[int] = []
    backbone.denoiser.register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
    sampler, method = Sampler(steps=3, guidance=guidance), TextOnly(backbone.features)
    counts = []
    for split in (False, True):
        backbone.is_split = split
        for requests in ([request(number=0), request(number=1)], []):
            calls.clear()
            drawings = sampler.draw(backbone, method, requests, CPU)
            assert len(drawings.images) == len(drawings.requests) == len(requests)
            counts.append(len(calls))
    assert counts == [3, 0, 3, 3]


def test_the_negative_prompt_takes_part_under_guidance_alone(
    backbone: StableDiffusionBackbone,
) -> None:
    method = TextOnly(backbone.features)

    def draw(guidance: float, negative: str) -> torch.Tensor:
        return Sampler(2, guidance, negative).draw(backbone, method, [request()], CPU).images

    assert torch.equal(draw(1.0, ""), draw(1.0, "snow on the beach"))
    assert not torch.equal(draw(8.0, ""), draw(8.0, "snow on the beach"))


def test_no_step_is_refused() -> None:
    with pytest.raises(ValueError, match="steps"):
        Sampler(steps=0)


@pytest.mark.parametrize("guidance", [-1.0, float("nan"), float("inf")])
def test_guidance_that_is_negative_or_not_finite_is_refused(guidance: float) -> None:
    with pytest.raises(ValueError, match="guidance"):
        Sampler(guidance=guidance)
