"""Take a step that went wrong once more, and name where numbers stop being finite.

python scripts/rerun_step.py ckpt=<run>/nonfinite.ckpt
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dlzoo.commands import cli
from dlzoo.errors import UserError, visible
from dlzoo.training.nan_guard.rerun import rerun
from dlzoo.utils import files as paths

if TYPE_CHECKING:
    pass


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
    from dlzoo.utils.checkpoint_files import read
    from dlzoo.utils.state_checks import restoring

    content = read(path)
    if "moment" not in content:
        raise UserError(f"ckpt={path} is a usual checkpoint; this wants the nonfinite.ckpt that a failed run left")
    print(visible(content.get("wrong")))
    with restoring(path):
        found = rerun(content, device=options.device, packages=packages_in(options.trust))
    print(found.table())
    print(f"first: {found.first}" if found.first else "this time all numbers are finite")
