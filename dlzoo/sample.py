"""Sample from a checkpoint: text from a language model.

    python scripts/sample.py ckpt=<run>/checkpoints/best.ckpt prompt="The food" temperature=0.8 top_k=40 length=500

Options:
    ckpt         the checkpoint; nothing else of its run is needed
    output       a file to write instead of the terminal
  of text:
    prompt       how the text begins (nothing)
    temperature  below 1 the likely becomes likelier, 0 always takes the likeliest, above 1 is wilder (1)
    top_k        only so many of the likeliest tokens are drawn from (all)
    length       tokens to write: characters, or words (500)
    seed         of the random draws (0)

Exit code 0 when it was done, 2 for a mistake.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dlzoo import commands
from dlzoo.errors import UserError, nearest

SAMPLERS = ("dlzoo.sample_text",)
"""Modules that can sample: each has ``Options``, ``samples(task)`` and ``sample(task, options) -> bytes``."""


@dataclass(frozen=True, kw_only=True)
class Options:
    ckpt: str
    output: str | None = None


def main() -> None:
    """The command."""
    commands.execute(command, __doc__)


def command(argv: Sequence[str]) -> None:
    """Sample as the words of a command line say."""
    samplers = [importlib.import_module(name) for name in SAMPLERS]
    kinds = [_keys(Options), *(_keys(sampler.Options) for sampler in samplers)]
    for word in argv:  # typos, before torch is imported
        key = word.partition("=")[0]
        if not any(key in keys for keys in kinds):
            raise UserError(f"{key}: there is no such option; {nearest(key, {key for keys in kinds for key in keys})}")
    own = [word for word in argv if word.partition("=")[0] in kinds[0]]
    options, _ = commands.parse(Options, own)
    ckpt = commands.existing_file(options.ckpt, "ckpt")
    output = None if options.output is None else commands.writable(options.output, "output", ckpt)

    task, _ = commands.load(ckpt)
    sampler: Any = next((sampler for sampler in samplers if sampler.samples(task)), None)
    if sampler is None:
        raise UserError(f"ckpt={ckpt}: its model ({type(task).__name__}) generates nothing; see scripts/predict.py")
    content = sampler.sample(task, commands.parse(sampler.Options, [word for word in argv if word not in own])[0])
    if output is None:
        sys.stdout.write(content.decode())
    else:
        commands.write(output, content)
        print(f"sample   {output}")


def _keys(options: type) -> set[str]:
    return {field.name for field in dataclasses.fields(options)}
