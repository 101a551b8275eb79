"""Sample from a checkpoint: text from a language model, pictures from a net that makes them.

    python scripts/sample.py ckpt=<run>/checkpoints/best.ckpt prompt="The food" temperature=0.8 top_k=40 length=500
    python scripts/sample.py ckpt=<run>/checkpoints/best.ckpt n=64 class=7 seed=3 output=sevens

Options:
    ckpt         the checkpoint; nothing else of its run is needed
    trust        a package of yours whose parts the checkpoint names
    output       where to: a file for text (the terminal), a folder for pictures (samples)
  of text:
    prompt       how the text begins (nothing)
    temperature  below 1 the likely becomes likelier, 0 always takes the likeliest, above 1 is wilder (1)
    top_k        only so many of the likeliest tokens are drawn from (all)
    length       tokens to write: characters, or words (500)
    seed         of the random draws (0)
  of pictures:
    n            how many: grid.png holds them all, 00000.png and so on one each (64)
    class        of which class, by name, for models that are told the class (all in turn)
    seed         of the random codes (0)

Exit code 0 when it was done, 2 for a mistake.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dlzoo.commands import cli
from dlzoo.errors import UserError, nearest, visible
from dlzoo.utils import files as paths

SAMPLERS = ("dlzoo.commands.sample_text", "dlzoo.commands.sample_images")
"""Modules that can sample: each has ``Options``, ``samples(task)``, and ``sample(task, options)``, which gives the
bytes of one file, or of several by name, for a folder."""

SPELLED = {"class": "class_name"}
"""Options that Python does not let a field be called by."""


@dataclass(frozen=True, kw_only=True)
class Options:
    ckpt: str
    trust: str | None = None
    output: str | None = None


def main() -> None:
    """The command."""
    cli.execute(command, __doc__)


def command(argv: Sequence[str]) -> None:
    """Sample as the words of a command line say."""
    samplers = [importlib.import_module(name) for name in SAMPLERS]
    kinds = [_keys(Options), *(_keys(sampler.Options) for sampler in samplers)]
    words = []
    for word in argv:  # typos, before torch is imported
        key, equals, text = word.partition("=")
        if not any(SPELLED.get(key, key) in keys for keys in kinds):
            known = {key for keys in kinds for key in keys} - {*SPELLED.values()} | {*SPELLED}
            raise UserError(f"{key}: there is no such option; {nearest(key, known)}")
        words.append(SPELLED.get(key, key) + equals + text)
    own = [word for word in words if word.partition("=")[0] in kinds[0]]
    options, _ = cli.parse(Options, own)
    ckpt = paths.existing_file(options.ckpt, "ckpt")

    task, _ = cli.load(ckpt, options.trust)
    sampler: Any = next((sampler for sampler in samplers if sampler.samples(task)), None)
    if sampler is None:
        raise UserError(f"ckpt={ckpt}: its model ({type(task).__name__}) generates nothing; see scripts/predict.py")
    content = sampler.sample(task, cli.parse(sampler.Options, [word for word in words if word not in own])[0])
    if isinstance(content, dict):
        folder = paths.write_folder(options.output or "samples", "output", content)
        print(f"samples   {folder}")
    elif options.output is None:
        sys.stdout.write(visible(content.decode()))
    else:
        output = paths.writable(options.output, "output", ckpt)
        paths.write(output, content)
        print(f"sample   {output}")


def _keys(options: type) -> set[str]:
    return {field.name for field in dataclasses.fields(options)}
