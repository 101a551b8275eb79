"""Publish a trained model: a folder with its weights, config, a model card and an example, or a repository on the Hub.

    dlzoo publish ckpt=<run>/checkpoints/best.ckpt to=lenet-mnist license=mit
    dlzoo publish ckpt=<run> to=hub:<owner>/<name>
    dlzoo publish ckpt=lenet-mnist to=hub:<owner>/<name>       a published folder, with its card as you have edited it

Options:
    ckpt         the checkpoint, or the folder of a run or of a published model
    to           a folder, which must not exist or be empty; or hub:<owner>/<name>
    license      of the weights: mit, apache-2.0, cc-by-4.0, …; without it the card says that there is none
    private      true: a new repository on the Hub is visible to you alone (false)
    overwrite    true: replace a published model in the folder (false)
    trust        a package of your own that the checkpoint uses

The folder holds README.md (the card), model.safetensors, config.yaml, config.json and example.py: no pickle, no path of
your machine. dlzoo.load("<folder>") reads it, and so does every command with ckpt=<folder>. The Hub needs a login:
hf auth login. Exit code 0 on success, 2 on an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dlzoo.api import publish
from dlzoo.api.model import load
from dlzoo.commands import cli
from dlzoo.errors import visible
from dlzoo.utils import model_folders


@dataclass(frozen=True, kw_only=True)
class Options:
    ckpt: str
    to: str
    license: str | None = None
    private: bool = False
    overwrite: bool = False
    trust: str | None = None


def main() -> None:
    """The command."""
    cli.execute(command, __doc__)


def command(argv: Sequence[str]) -> None:
    """Publish as the arguments specify."""
    options, _ = cli.parse(Options, argv)
    ckpt = model_folders.checkpoint(options.ckpt, "ckpt")
    place = publish.publish(
        lambda: load(ckpt, trust=options.trust),
        options.to,
        license=options.license,
        private=options.private,
        overwrite=options.overwrite,
    )
    print(f"published   {visible(place)}")
    if options.license is None and not model_folders.is_published(ckpt):
        print("the card states no licence: add license=…, or edit README.md")
