"""Puts `configs/` into the wheel as `idgen/configs`; an editable install uses it where it is."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ShippedConfigs(BuildHookInterface):
    """The build hook that pyproject.toml names."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Adds the folder, but to an editable install, which would keep stale copies."""
        if version != "editable":
            build_data["force_include"]["configs"] = "idgen/configs"
