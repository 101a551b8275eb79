"""Write one HTML page about a run or a sweep: metrics, figures, config and environment; settings and trials.

    dlzoo report outputs/2026-11-24/09-00-00-lenet-mnist
    dlzoo report outputs/lenet output=lenet.html
    dlzoo report outputs/sweeps/2026-11-24/09-00-00

Options:
    output     the page (report.html in the folder of the run or sweep)

The page is a single self-contained file that opens in any browser, also on a phone and in dark mode. Of absolute paths
in options and warnings only the last name is shown. Exit code 0 on success, 2 on an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlzoo.api import page, page_sweep
from dlzoo.api.run import Run
from dlzoo.commands import cli
from dlzoo.config import run_files
from dlzoo.errors import UserError, visible
from dlzoo.sweep import record as records
from dlzoo.utils import files as paths


@dataclass(frozen=True, kw_only=True)
class Options:
    output: str | None = None


def main() -> None:
    """The command."""
    cli.execute(command, __doc__)


def command(argv: Sequence[str]) -> None:
    """Write the page of the run or sweep that the arguments name."""
    folders = [arg for arg in argv if Path(arg).expanduser().is_dir() or "=" not in arg]
    options, _ = cli.parse(Options, [arg for arg in argv if arg not in folders])
    if len(folders) != 1:
        raise UserError("give one folder, of a run or a sweep: dlzoo report outputs/<date>/<time>-<model>-<data>")
    folder = paths.existing(folders[0], "the folder")
    is_run = (folder / run_files.CONFIG).is_file()
    if not is_run and not (folder / records.FILE).is_file():
        raise UserError(
            f"{folders[0]} is neither the folder of a run, which has a file {run_files.CONFIG}, nor that of a sweep, "
            f"which has {records.FILE}"
        )
    output = paths.writable(options.output or str(folder / "report.html"), "output")
    text = page.of_run(Run(folder)) if is_run else page_sweep.of_folder(folder)
    paths.write(output, text.encode(errors="backslashreplace"))
    print(f"report   {visible(output)}")
