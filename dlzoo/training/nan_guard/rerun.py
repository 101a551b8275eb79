"""Repeats a step with non-finite values, and finds where they first occur.

    dlzoo rerun_step ckpt=outputs/…/nonfinite.ckpt [device=auto] [trust=mypkg]

The run that failed at the step has written the file, which contains everything needed: neither data nor a config are
read. Each module of the net is observed, forward and backward, and listed with the range of its outputs; the first one
that turns finite values into non-finite ones is named.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Literal

import torch

from dlzoo.checkpoint import load as checkpoint
from dlzoo.errors import NonFinite
from dlzoo.training.nan_guard.probe import Findings, Probe, run_step
from dlzoo.training.nan_guard.report import REPORT_NAME
from dlzoo.utils.checkpoint_files import read
from dlzoo.utils.files import open_text
from dlzoo.utils.logging import quiet


def explain(error: NonFinite, packages: Sequence[str] = ()) -> NonFinite:
    """The error with the findings of repeating its step, which are also written to a text file.

    Args:
        packages: the user's own packages that contain parts of the run.
    """
    if error.file is None:
        return NonFinite(error.reason, error.facts)
    try:
        findings = rerun(read(error.file), packages=packages)
    except Exception as problem:  # the report must not fail because of what it reports
        findings = Findings(first=f"unknown: the step could not be repeated ({type(problem).__name__}: {problem})")
    first = findings.first or "unknown: all values are finite when the step is repeated"
    command = f"dlzoo rerun_step ckpt={error.file}"
    facts = [*error.facts, ("repeat", command), ("try", remedy(first))]
    explained = NonFinite(f"{error.reason}; first {first}", facts, error.file)
    lines = [explained.reason, "", *(f"{name}: {sentence}" for name, sentence in explained.facts)]
    lines += ["", "layers in the order in which they finished, ! if outputs are not finite:", findings.table()]
    lines += ["", f"all rows of the batch: {error.all_rows}" if error.all_rows else ""]
    with open_text(error.file.with_name(REPORT_NAME), "w") as file:
        file.write("\n".join(lines).rstrip() + "\n")
    return explained


def remedy(first: str) -> str:
    """What to change, depending on where non-finite values first occurred."""
    if first.startswith(("in the inputs of", "in the target of", "in the weight of")):
        return "correct these rows of the data, or on_nan=skip"
    return "a lower optimizer.lr, trainer.gradient_clip_val=1, trainer.precision=32-true, or on_nan=skip"


def rerun(
    content: Mapping[str, object], *, device: Literal["auto", "cpu"] = "auto", packages: Sequence[str] = ()
) -> Findings:
    """Repeat the step of a ``nonfinite.ckpt`` on a newly built task."""
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quiet()
        probe = Probe()
        task, cfg = checkpoint.build(content, packages)
        run_step(task, cfg.trainer, content, probe, accelerator=device)
        findings = probe.findings()
        if findings.first.startswith("in the gradient"):
            findings.first += _function(content, device, packages)
    return findings


def _function(content: Mapping[str, object], device: Literal["auto", "cpu"], packages: Sequence[str]) -> str:
    """The function whose derivative is NaN, according to autograd's anomaly mode; empty if it finds none."""
    try:
        task, cfg = checkpoint.build(content, packages)
        run_step(task, cfg.trainer, content, Probe(), accelerator=device, detect_anomaly=True)
    except RuntimeError as error:
        if match := re.search(r"Function '(\w+?)(Backward\d*)?' returned nan", str(error)):
            return f", by the derivative of {match[1]}"
    return ""
