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
from typing import TYPE_CHECKING, Any, Literal

from dlzoo.training.nan_guard.probe import Findings

if TYPE_CHECKING:
    from dlzoo.errors import NonFinite


def explained(error: NonFinite, packages: Sequence[str] = ()) -> NonFinite:
    """The error with what the step shows when it is run again from its file, which is also written as text.

    Args:
        packages: of the user's own, whose parts the run is made of.
    """
    from dlzoo.errors import NonFinite
    from dlzoo.training.nan_guard.report import TEXT
    from dlzoo.utils.checkpoint_files import read

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
    from dlzoo.training.nan_guard.probe import Probe, take
    from dlzoo.utils.logging import quiet

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
