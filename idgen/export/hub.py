"""Uploading an export to the hub; what can be refused is refused before any work."""

from pathlib import Path
from typing import Any

from idgen.errors import UserError, first_line
from idgen.export.base_model import check_hub_id


class HubRepository:
    """A repository of the hub that an export is pushed to."""

    def __init__(self, name: str, private: bool, api: Any) -> None:
        """Names it; nothing is asked yet.

        Args:
            name: Such as `user/name`.
            private: Whether others may see it.
            api: huggingface_hub's `HfApi`.

        Raises:
            UserError: If it is no such name.
        """
        check_hub_id(name, "--push")
        self.name = name
        self.private = private
        self._api = api

    def check(self) -> None:
        """Asks the hub who the token belongs to.

        Raises:
            UserError: If there is no token, the hub does not take it, or cannot be reached.
        """
        from huggingface_hub import get_token
        from huggingface_hub.errors import HfHubHTTPError

        if not (self._api.token or get_token()):
            raise UserError(
                "--push: there is no token; set HF_TOKEN to one that may write, as "
                "huggingface.co/settings/tokens makes them"
            )
        try:
            self._api.whoami()
        except HfHubHTTPError as error:
            raise UserError(
                f"--push: the hub does not take the token ({first_line(error)}); set HF_TOKEN to "
                "one that may write"
            ) from error
        except Exception as error:  # without network, libraries raise many kinds
            raise UserError(
                f"--push: the hub cannot be reached ({first_line(error)}); leave --push out, and "
                "upload the folder later"
            ) from error

    def push(self, folder: Path, message: str) -> str:
        """Makes the repository, unless it is there, and uploads a folder.

        Args:
            folder: The export.
            message: Of the commit.

        Returns:
            The repository's address.

        Raises:
            UserError: If it cannot; the folder stays.
        """
        try:
            made = self._api.create_repo(self.name, private=self.private, exist_ok=True)
            self._api.upload_folder(
                repo_id=self.name, folder_path=str(folder), commit_message=message
            )
        except Exception as error:  # network, rights, space: libraries raise many kinds
            raise UserError(
                f"--push: {self.name} could not be uploaded ({first_line(error)}); the export is "
                f"in {folder}: hf upload {self.name} {folder}"
            ) from error
        return str(made)
