"""Files of published data sets: found where they are, or downloaded once, never read damaged.

A download goes to a temporary name and gets its own only when its checksum is right (pooch does both), so a file that
was cut off is never seen under the name that is read.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from dlzoo.errors import UserError

TIMEOUT = (3.0, 10.0)
"""Seconds to connect, and between two pieces of an answer."""

TRIES = 2
"""Of each mirror, and only where a download arrived damaged: who does not answer is not asked again."""


def folder_of(data_dir: str | os.PathLike[str], *parts: str) -> Path:
    """An absolute path below ``data_dir``, which may be relative or start with ``~``."""
    return Path(os.path.abspath(Path(data_dir).expanduser())).joinpath(*parts)


def find(folder: Path, *names: str) -> Path | None:
    """The first of these files that is in the folder.

    Raises:
        UserError: the folder may not be looked into.
    """
    try:
        return next((path for name in names if (path := folder / name).is_file()), None)
    except OSError as error:
        raise UserError(f"data_dir: {folder} cannot be read ({error.strerror})") from None


def read_bytes(path: Path) -> bytes:
    """The whole file; `UserError` if it may not be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"data_dir: {path} cannot be read ({error.strerror})") from None


def check_md5(content: bytes, md5: str, path: Path) -> None:
    """Refuse content that is not the published one.

    Raises:
        UserError: names the file and what to do with it.
    """
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise damaged(path, "its checksum is not the published one")


def damaged(path: Path, reason: str) -> UserError:
    """The error for a file that is there but must not be used."""
    return UserError(f"{path} is damaged: {reason}. Delete it, and the next run downloads it again")


def download(
    name: str,
    *,
    md5: str = "",
    sha256: str = "",
    folder: Path,
    mirrors: Sequence[str],
    embedded: str = "data=digits",
) -> Path:
    """Fetch a file into a folder, from the first mirror that gives it undamaged.

    Args:
        md5: the published checksum; or else ``sha256``.
        mirrors: base URLs; ``name`` is appended.
        embedded: the choice to offer where there is no network.

    Raises:
        UserError: no mirror gave it, or the folder cannot be written; nothing is left behind then.
    """
    failures = []
    refuse = f"{name} cannot be stored in {folder} (%s): choose another data_dir, or data that are embedded: {embedded}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(refuse % "that is a file, or below one") from None
    except OSError as error:
        raise UserError(refuse % error.strerror) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(refuse % "you may not write there")
    print(f"downloading {name} to {folder}", file=sys.stderr)
    for mirror in mirrors:
        try:
            _fetch(f"{mirror.rstrip('/')}/{name}", f"sha256:{sha256}" if sha256 else f"md5:{md5}", folder / name)
            return folder / name
        except _Failure as failure:
            failures.append(f"{urlsplit(mirror).netloc or mirror}: {failure}")
        except OSError as error:
            raise UserError(refuse % (error.strerror or error)) from None
    raise UserError(
        f"{name} could not be downloaded ({'; '.join(failures) or 'data.mirrors is empty'}). "
        f"Put it into {folder} yourself, or choose data that are embedded: {embedded}"
    )


class _Failure(Exception):
    """Why a mirror did not give a file, in words."""


def _fetch(url: str, checksum: str, path: Path) -> None:
    import pooch
    from requests import exceptions as http

    pooch.get_logger().setLevel("CRITICAL")
    plain = {"Accept-Encoding": "identity"}  # else requests unpacks a .gz that a server calls gzip-encoded
    get = pooch.HTTPDownloader(timeout=TIMEOUT, headers=plain, chunk_size=1 << 16, progressbar=sys.stderr.isatty())
    for left in reversed(range(TRIES)):
        try:
            pooch.retrieve(url, checksum, path.name, path.parent, downloader=get)
            path.chmod(0o666 & ~_umask())  # pooch's temporary files are for their owner alone
            return
        except http.HTTPError as error:
            raise _Failure(f"HTTP {getattr(error.response, 'status_code', 'error')}") from None
        except (http.ChunkedEncodingError, http.ContentDecodingError):
            reason = "the connection broke off"
        except http.Timeout:
            raise _Failure("no answer in time") from None
        except http.RequestException as error:
            raise _Failure("the connection failed" if isinstance(error, http.ConnectionError) else f"{error}") from None
        except ValueError:  # pooch's word for a wrong checksum
            reason = "a wrong checksum"
        if not left:
            raise _Failure(reason)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
