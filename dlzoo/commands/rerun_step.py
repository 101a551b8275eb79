"""Repeat a training step that failed, and show where values stop being finite.

    dlzoo rerun_step ckpt=<run>/nonfinite.ckpt

Options:
    ckpt      the nonfinite.ckpt that the failed run wrote
    device    auto, or cpu (auto)
    trust     a package of your own that the checkpoint uses

Exit code 0 on success, 2 on an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dlzoo.commands import cli
from dlzoo.errors import UserError, visible
from dlzoo.utils import files as paths


@dataclass(frozen=True)
class Options:
    ckpt: str
    device: Literal["auto", "cpu"] = "auto"
    trust: str | None = None


def main() -> None:
    cli.execute(_main, __doc__)


def _main(argv: Sequence[str]) -> None:
    options, _ = cli.parse(Options, argv)
    path = paths.existing_file(options.ckpt, "ckpt")
    from dlzoo.config.allowlist import packages_in
    from dlzoo.training.nan_guard.rerun import rerun
    from dlzoo.utils.checkpoint_files import read
    from dlzoo.utils.state_checks import restoring

    content = read(path)
    if "moment" not in content:
        raise UserError(f"ckpt={path} is a regular checkpoint; give the nonfinite.ckpt that a failed run wrote")
    print(visible(content.get("wrong")))
    with restoring(path):
        result = rerun(content, device=options.device, packages=packages_in(options.trust))
    print(result.table())
    print(f"first: {result.first}" if result.first else "this time all values are finite")
