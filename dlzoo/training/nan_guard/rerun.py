"""Take a step again whose numbers were not finite, and say where that begins.

    python scripts/rerun_step.py ckpt=outputs/…/nonfinite.ckpt [device=auto] [trust=mypkg]

The file was left by a run that ended with such a step. Nothing else is needed: no data, no config. Each part of the
net is watched, forward and backward, and listed with the range of its outputs; the first that turned finite numbers
into others is named.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from dlzoo.commands import cli
from dlzoo.errors import UserError, visible
from dlzoo.utils import files as paths

if TYPE_CHECKING:
    from dlzoo.training.nan_guard.report import NonFinite


@dataclass(frozen=True)
class Options:
    ckpt: str
    device: Literal["auto", "cpu"] = "auto"
    trust: str | None = None


@dataclass
class Layer:
    """A part of the net as a step passed it."""

    name: str
    kind: str
    output: str = ""
    is_finite: bool = True

    def __str__(self) -> str:
        return f"{self.name} ({self.kind})"


@dataclass
class Findings:
    """What a step showed."""

    first: str = ""
    """Where finite numbers turned into others; empty if that did not happen."""
    layers: list[Layer] = field(default_factory=list)
    """In the order in which they finished."""

    def table(self) -> str:
        width = max((len(str(layer)) for layer in self.layers), default=0)
        marks = {True: " ", False: "!"}
        return "\n".join(f"{marks[la.is_finite]} {la!s:{width}}  {la.output}" for la in self.layers)


def main() -> None:
    cli.execute(_main, __doc__)


def _main(argv: Sequence[str]) -> None:
    options, _ = cli.parse(Options, argv)
    path = paths.existing_file(options.ckpt, "ckpt")
    from dlzoo.checkpoint.load import read
    from dlzoo.config.allowlist import packages_in
    from dlzoo.training.restore import restoring

    content = read(path)
    if "moment" not in content:
        raise UserError(f"ckpt={path} is a usual checkpoint; this wants the nonfinite.ckpt that a failed run left")
    print(visible(content.get("wrong")))
    with restoring(path):
        found = rerun(content, device=options.device, packages=packages_in(options.trust))
    print(found.table())
    print(f"first: {found.first}" if found.first else "this time all numbers are finite")


def explained(error: NonFinite, packages: Sequence[str] = ()) -> NonFinite:
    """The error with what the step shows when it is run again from its file, which is also written as text.

    Args:
        packages: of the user's own, whose parts the run is made of.
    """
    from dlzoo.checkpoint.load import read
    from dlzoo.training.nan_guard.report import TEXT, NonFinite

    if error.file is None:
        return NonFinite(error.reason, error.facts)
    try:
        found = rerun(read(error.file), packages=packages)
    except Exception as problem:  # the report must not fall to what it is about
        found = Findings(first=f"unknown: the step could not be run again ({type(problem).__name__}: {problem})")
    first = found.first or "unknown: run again from its file, the step is finite"
    again = f"python scripts/rerun_step.py ckpt={error.file}"
    facts = [*error.facts, ("again", again), ("try", remedy(first))]
    told = NonFinite(f"{error.reason}; first {first}", facts, error.file)
    lines = [told.reason, "", *(f"{name}: {sentence}" for name, sentence in told.facts)]
    lines += ["", "layers in the order in which they finished, ! where outputs are not finite:", found.table()]
    lines += ["", f"all rows of the batch: {error.all_rows}" if error.all_rows else ""]
    error.file.with_name(TEXT).write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    return told


def remedy(first: str) -> str:
    """What can be done about it, by where it began."""
    if first.startswith(("in the inputs of", "in the target of", "in the weight of")):
        return "mend these rows of the data, or on_nan=skip"
    return "a lower optimizer.lr, trainer.gradient_clip_val=1, trainer.precision=32-true, or on_nan=skip"


def rerun(
    content: dict[str, Any], *, device: Literal["auto", "cpu"] = "auto", packages: Sequence[str] = ()
) -> Findings:
    """Take the step of a ``nonfinite.ckpt`` once more, on a task that is built for it and thrown away."""
    import torch

    from dlzoo.checkpoint import load as checkpoint
    from dlzoo.train import quiet
    from dlzoo.training.nan_guard.probe import Probe, take

    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quiet()
        probe = Probe()
        take(*checkpoint.build(content, packages), content, probe, accelerator=device)
        findings = probe.findings()
        if findings.first.startswith("in the gradient"):
            findings.first += _function(content, device, packages)
    return findings


def _function(content: dict[str, Any], device: Literal["auto", "cpu"], packages: Sequence[str]) -> str:
    """Which function's derivative it was, by autograd's anomaly mode; empty where that sees no nan."""
    from dlzoo.checkpoint import load as checkpoint
    from dlzoo.training.nan_guard.probe import Probe, take

    try:
        take(*checkpoint.build(content, packages), content, Probe(), accelerator=device, detect_anomaly=True)
    except RuntimeError as error:
        if match := re.search(r"Function '(\w+?)(Backward\d*)?' returned nan", str(error)):
            return f", by the derivative of {match[1]}"
    return ""
