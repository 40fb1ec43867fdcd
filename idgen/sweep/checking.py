"""Refuses, before any work, a space that trials cannot be made of."""

from idgen.benchmark.cell import difference, read_json
from idgen.errors import UserError
from idgen.runs.freezing import ConfigReader
from idgen.sweep.config import SweepConfig

STATE = "sweep.json"


def check_space(config: SweepConfig) -> None:
    """Reads and builds a run for each choice and for each end of a range; loads nothing.

    Raises:
        UserError: If a key is unknown or refuses a value, with the parameter that did it.
    """
    reader = ConfigReader()
    first = {key: parameter.edges[0] for key, parameter in config.space.items()}
    for key, parameter in config.space.items():
        for value in parameter.edges:
            method = config.method({**first, key: value})
            prompts = {} if config.prompts is None else {"data.test_prompts": config.prompts}
            settings = {**config.shared, **prompts, **method.settings}
            try:
                reader.build(reader.read([*config.configs, *method.configs], settings))
            except UserError as error:
                raise UserError(f"space.{key}: {value!r}: {error}") from error


def check_same(config: SweepConfig) -> None:
    """Refuses to go on with another sweep's folder.

    Raises:
        UserError: If the folder holds one, with the field that differs.
    """
    earlier = read_json(config.folder / STATE)
    if earlier is None:
        if (config.folder / "results.json").exists():
            raise UserError(
                f"{config.folder} holds a benchmark's results; name a new folder with --output"
            )
        return
    differing = difference(earlier.get("sweep"), config.decisive)
    if differing is not None:
        raise UserError(
            f"{config.folder} holds another sweep ({differing}); name a new folder with --output"
        )
