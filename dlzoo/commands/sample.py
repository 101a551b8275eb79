"""Sample from a checkpoint: text from a language model, images from a generative net, sound from WaveNet.

    dlzoo sample ckpt=<run>/checkpoints/best.ckpt prompt="The food" temperature=0.8 top_k=40 length=500
    dlzoo sample ckpt=<run>/checkpoints/best.ckpt n=64 class=7 seed=3 output=sevens
    dlzoo sample ckpt=<run>/checkpoints/best.ckpt n=4 class=7 seconds=0.5 temperature=0.9

Options:
    ckpt         the checkpoint, whose run is not needed, or the folder of a run or of a published model
    trust        a package of your own that the checkpoint uses
    output       a file for text (default: the terminal), a folder for images and sound (default: samples/ in the run's
                 folder, or in the current one if the checkpoint lies in no run)
  for text:
    prompt       the text to continue (empty)
    temperature  below 1 favours likely tokens, 0 always picks the most likely, above 1 is more random (1)
    top_k        sample only from the k most likely tokens (all)
    top_p        of these, only from the fewest most likely ones that have this probability together (all)
    length       tokens to generate: characters, words or pieces of words (500)
    seed         of the sampling (0)
  for images:
    n            number of images: grid.png shows all, 00000.png and so on one each (64)
    class        the name of the class, for class-conditional models (all in turn)
    seed         of the random latents (0)
  for sound:
    n            number of recordings: samples.png shows the first twelve, 00000.wav and so on hold one each (10)
    class        the name of the class, for models that are given classes (all in turn)
    seconds      length of each (as in training)
    temperature, top_k, top_p     as for text, of the 256 levels of a sample
    seed         of the sampling (0)

Exit code 0 on success, 2 on an error.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dlzoo.commands import cli, places
from dlzoo.errors import UserError, nearest, visible
from dlzoo.inference import loading
from dlzoo.utils import files as paths
from dlzoo.utils import model_folders

SAMPLERS = ("dlzoo.commands.sample_text", "dlzoo.commands.sample_sound", "dlzoo.commands.sample_images")
"""Modules that sample: each has ``Options``, ``samples(task)``, and ``sample(task, options)``, which returns the
bytes of one file, or a dict of several files by name for a folder."""

FIELD_NAMES = {"class": "class_name"}
"""Options whose name is a Python keyword, and their fields."""


@dataclass(frozen=True, kw_only=True)
class Options:
    ckpt: str
    trust: str | None = None
    output: str | None = None


def main() -> None:
    """The command."""
    cli.execute(command, __doc__)


def command(argv: Sequence[str]) -> None:
    """Sample as the arguments specify."""
    samplers = [importlib.import_module(name) for name in SAMPLERS]
    key_sets = [_keys(Options), *(_keys(sampler.Options) for sampler in samplers)]
    args = []
    for arg in argv:  # typos, before torch is imported
        key, equals, text = arg.partition("=")
        if not any(FIELD_NAMES.get(key, key) in keys for keys in key_sets):
            known = {key for keys in key_sets for key in keys} - {*FIELD_NAMES.values()} | {*FIELD_NAMES}
            raise UserError(f"{key}: there is no such option; {nearest(key, known)}")
        args.append(FIELD_NAMES.get(key, key) + equals + text)
    shared = [arg for arg in args if arg.partition("=")[0] in key_sets[0]]
    options, _ = cli.parse(Options, shared)
    ckpt = model_folders.checkpoint(options.ckpt, "ckpt")

    task, _ = loading.load(ckpt, options.trust)
    sampler: Any = next((sampler for sampler in samplers if sampler.samples(task)), None)
    if sampler is None:
        raise UserError(f"ckpt={ckpt}: its model ({type(task).__name__}) is not generative; see dlzoo predict")
    content = sampler.sample(task, cli.parse(sampler.Options, [arg for arg in args if arg not in shared])[0])
    if isinstance(content, dict):
        default = places.default_path("samples", "output", ckpt)
        folder = paths.write_folder(options.output, "output", content, default=default)
        print(f"samples   {folder}")
    elif options.output is None:
        sys.stdout.write(visible(content.decode()))
    else:
        output = paths.writable(options.output, "output", ckpt)
        paths.write(output, content)
        print(f"sample   {output}")


def _keys(options: type) -> set[str]:
    return {field.name for field in dataclasses.fields(options)}
