"""What the commands of cells need, imported; importing it is all that there is to it."""

from importlib import import_module

for _name in (
    "idgen.runs.cli",
    "idgen.runs.checks",
    "idgen.commands.train",
    "idgen.commands.prepare",
    # What idgen imports where it is needed, of the models that most runs have.
    "diffusers.models.autoencoders.autoencoder_kl",
    "diffusers.models.unets.unet_2d_condition",
    "diffusers.schedulers",
    "open_clip",
    "peft",
    "segment_anything",
    "tensorboard",
    "torch.utils.tensorboard",
    "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip",
    "transformers.models.vit.modeling_vit",
):
    import_module(_name)
