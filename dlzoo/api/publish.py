"""Publishing a model: a folder that anybody can read, check and load, here or on the Hugging Face Hub."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dlzoo.api import hub
from dlzoo.config import run_files
from dlzoo.errors import UserError, short
from dlzoo.utils import files, model_folders

if TYPE_CHECKING:
    from dlzoo.api.model import Model
    from dlzoo.training.results import RunResults

CARD, EXAMPLE = "README.md", "example.py"
LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,60}")


def publish(
    load: Callable[[], Model],
    to: str | Path,
    *,
    license: str | None = None,
    private: bool = False,
    overwrite: bool = False,
) -> str:
    """Write a model with its card and an example into a folder, or upload them.

    Of a folder that was published before, such as one whose card has been edited, the files are taken as they are.

    Args:
        load: returns the model; called once it is clear that there is a place for it.
        to: a folder, or ``hub:<owner>/<name>``.
        license: of the weights, such as ``mit``, ``apache-2.0`` or ``cc-by-4.0``; None: the card says so.
        private: of a new repository on the hub.
        overwrite: replace a model that the folder holds already.

    Returns:
        The folder, or the address on the hub.

    Raises:
        UserError: the folder is in use, the hub cannot be used, or the model cannot be stored as plain files.
    """
    check_license(license)
    if str(to).startswith(hub.PREFIX):
        hub.repository_of(str(to))
        api = hub.connect(str(to))
        with tempfile.TemporaryDirectory() as scratch:
            prepare(load(), Path(scratch), license, str(to))
            return hub.upload(api, Path(scratch), str(to), private=private)
    if private:
        raise UserError("private=true would be ignored: it has an effect only with to=hub:<owner>/<name>; omit it")
    target = check_target(Path(to).expanduser(), overwrite=overwrite)
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
            prepare(load(), Path(scratch), license, str(to))
            target.mkdir(exist_ok=True)
            for path in sorted(Path(scratch).iterdir()):
                os.replace(path, target / path.name)
    except OSError as error:
        raise UserError(f"to={to} cannot be written ({error.strerror or error})") from None
    return str(target)


def check_license(license: str | None) -> None:
    """`UserError` unless it looks like the short name of a licence."""
    if license is not None and not LICENSE.fullmatch(license):
        raise UserError(
            f"license={short(license)} must be the short name of a licence: mit, apache-2.0, cc-by-4.0, other"
        )


def check_target(target: Path, *, overwrite: bool) -> Path:
    """The folder to write, if nothing in it would be lost.

    Raises:
        UserError: it is a file or a link, holds something else, or a model that is not to be overwritten.
    """
    if not files.is_path(str(target)) or not files.is_file_name(target.name):
        raise UserError(f"to={short(target, 200)}: this is not the name of a folder")
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise UserError(f"to={target}: this is a file or a link; give a folder")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise UserError(f"to={target}: {target.parent} is not a writable folder")
    if target.is_dir() and any(target.iterdir()):
        if not model_folders.is_published(target):
            raise UserError(f"to={target}: this folder holds something else; give an empty or a new one")
        if not overwrite:
            raise UserError(
                f"to={target} holds a published model already, perhaps with an edited card: choose another folder, or "
                "replace it with overwrite=true"
            )
    return target


def prepare(model: Model, temporary: Path, license: str | None, to: str) -> None:
    """Write all files into a new and empty folder, and read them back."""
    from dlzoo.checkpoint import published
    from dlzoo.config.allowlist import packages_in
    from dlzoo.utils.checkpoint_files import read

    ckpt = model.checkpoint()
    if model_folders.is_published(ckpt):
        copy(ckpt, temporary, license)
        return
    content = read(ckpt)
    for name, data in published.files_of(content, packages_in(model.trust)).items():
        (temporary / name).write_bytes(data)
    published.check_same(content, read(temporary))
    card, example = texts(model, temporary, license, to)
    (temporary / CARD).write_text(card, encoding="utf-8", errors="backslashreplace", newline="\n")
    (temporary / EXAMPLE).write_text(example, encoding="utf-8", errors="backslashreplace", newline="\n")


def copy(published: Path, folder: Path, license: str | None) -> None:
    """Copy the files of a published model, which may be somebody else's: a link in it could publish any file.

    Raises:
        UserError: one of them links outside the folder, or is no regular file.
    """
    if license is not None:
        raise UserError(f"license={license} would be ignored: {published} has a card; change its license: there")
    for name in (*model_folders.FILES, CARD, EXAMPLE):
        if os.path.lexists(published / name):
            with run_files.open_inside(published, published / name) as source, (folder / name).open("xb") as target:
                shutil.copyfileobj(source, target)


def texts(model: Model, folder: Path, license: str | None, to: str) -> tuple[str, str]:
    """The card and the example.

    Args:
        folder: with the other files.
        to: where they will be.
    """
    from dlzoo.api import model_card, seeds
    from dlzoo.utils.checkpoint_files import manifest_in, read

    run = run_of(model.checkpoint())
    results = None if run is None else results_of(model.checkpoint(), run)
    facts = model_card.Facts(
        model=model,
        manifest=manifest_in(read(folder)),
        results=results,
        seeds=None if run is None or results is None else seeds.of_run(run),
        license=license,
        repository=to.removeprefix(hub.PREFIX) if to.startswith(hub.PREFIX) else None,
    )
    return model_card.text_of(facts), model_card.example_of(model)


def run_of(ckpt: Path) -> Path | None:
    """The run folder that a checkpoint lies in; None if it lies elsewhere."""
    folder = ckpt.parent.parent
    return folder if ckpt.parent.name == "checkpoints" and (folder / run_files.CONFIG).is_file() else None


def results_of(ckpt: Path, run: Path) -> RunResults | None:
    """The results of a run, if it tested this checkpoint: its best one, or the last if it has no best."""
    from dlzoo.training import results

    found = results.read(run)
    stored = found.get("checkpoints", {})
    tested = stored.get("best") or stored.get("last")
    if tested is None or not (run / tested).is_file() or not ckpt.samefile(run / tested):
        return None
    return found
