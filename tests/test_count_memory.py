from pathlib import Path

from idgen.backbones import FluxBackbone
from tests.loading import nothing_loaded
from tools.count_backbones import counted
from tools.count_memory import save_configuration


def test_the_configuration_is_flux_as_it_was_published(tmp_path: Path) -> None:
    """Its parts' sizes are known from elsewhere: the model card's 12 billion, T5-XXL's encoder."""
    folder = save_configuration(tmp_path)
    with nothing_loaded():
        bare = FluxBackbone(str(folder), resolution=512).skeleton()
    sizes = {
        part: sum(weight.numel() for weight in bare.get_submodule(part).parameters())
        for part in bare.parts
    }
    assert sizes["transformer"] == counted("flux1_dev")[0]
    assert 11.5e9 < sizes["transformer"] < 12.5e9
    assert 4.7e9 < sizes["text_encoder_2"] < 4.8e9
    assert 1.2e8 < sizes["text_encoder"] < 1.3e8
