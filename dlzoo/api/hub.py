"""Uploading a folder to the Hugging Face Hub, with sentences for what goes wrong before and during it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from dlzoo.errors import UserError, one_line, short
from dlzoo.utils import extras

if TYPE_CHECKING:
    from huggingface_hub import HfApi

PREFIX = "hub:"
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def repository_of(to: str) -> str:
    """The repository that ``hub:owner/name`` names.

    Raises:
        UserError: it is no name of a repository.
    """
    name = to.removeprefix(PREFIX)
    if not REPOSITORY.fullmatch(name) or ".." in name or "--" in name:
        raise UserError(f"to={short(to)} must be hub:<owner>/<name>, of letters, digits, '-', '_' and '.'")
    return name


def connect(to: str) -> HfApi:
    """The hub, as the user who is logged in; asked before anything is prepared.

    Raises:
        UserError: huggingface_hub is not installed, nobody is logged in, or the hub cannot be reached.
    """
    extras.require(f"to={short(to)}", "huggingface_hub")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    from dlzoo import __version__

    api = HfApi(library_name="dlzoo", library_version=__version__)
    try:
        api.whoami()
    except LocalTokenNotFoundError:
        raise UserError(
            f"to={to}: you are not logged in: run `hf auth login`, or set HF_TOKEN to a token that may write"
        ) from None
    except OfflineModeIsEnabled:
        raise UserError(f"to={to}: HF_HUB_OFFLINE is set, so nothing can be uploaded: unset it") from None
    except HfHubHTTPError as error:
        raise UserError(f"to={to}: the hub does not accept your token ({one_line(error, 200)})") from None
    except (HTTPError, OSError) as error:
        raise UserError(f"to={to}: {api.endpoint} cannot be reached ({one_line(error, 200)})") from None
    return api


def upload(api: HfApi, folder: Path, to: str, *, private: bool) -> str:
    """Upload a folder into a model repository, which is created if missing; returns its address.

    Args:
        private: of a new repository: whether only its owner sees it.

    Raises:
        UserError: the hub refuses it, or the connection breaks.
    """
    from huggingface_hub.errors import HTTPError

    name = repository_of(to)
    try:
        address = api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Publish with dlzoo")
    except (HTTPError, OSError, ValueError) as error:  # ValueError: a card that the hub does not accept
        raise UserError(f"to={to}: the upload failed ({one_line(error, 300)})") from None
    return str(address)
