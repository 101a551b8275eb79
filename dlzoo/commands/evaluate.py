"""Test a checkpoint again: the metrics of the test split, as its run printed them, or those on other data.

    dlzoo evaluate ckpt=<run>/checkpoints/best.ckpt
    dlzoo evaluate ckpt=… data.data_dir=/elsewhere
    dlzoo evaluate ckpt=… data=fashion_mnist json=true

Options:
    ckpt                    the checkpoint, whose run is not needed, or the folder of a run or of a published model
    data                    a name in configs/data; default: the data of the checkpoint's config, with the same splits
    data.<option>           overrides an option of the data, such as data.path=rows.csv
    batch_size              test batch size; default: that of the run
    trainer.<option>        accelerator, precision, deterministic or limit_test_batches; default: that of the run
    trust                   a package of your own that the checkpoint uses: trust=mypkg, or trust=[a,b]
    json                    true for JSON output (false)

Published data sets are read from data.data_dir, else from DLZOO_DATA_DIR, else from data/: a folder that the checkpoint
names is never written to. The data must match the checkpoint: the same shape, columns and classes, in the same order.
Statistics fitted in training (means, vocabularies, categories, fill values) come from the checkpoint. Rows that the
model was trained on are refused, such as those of a file that has grown or whose split has changed. Exit code 0 on
success, 2 on an error.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from dlzoo.api.evaluation import Evaluation, evaluate
from dlzoo.commands import cli
from dlzoo.errors import at_least, short
from dlzoo.utils import model_folders


@dataclass(frozen=True, kw_only=True)
class Options:
    ckpt: str
    data: str | None = None
    batch_size: int | None = None
    trust: str | None = None
    json: bool = False


def main() -> None:
    """The command."""
    cli.execute(command, __doc__)


def command(argv: Sequence[str]) -> None:
    """Evaluate as the arguments specify."""
    options, overrides = cli.parse(Options, argv, others=("data.", "trainer."))
    at_least(1, batch_size=options.batch_size)
    ckpt = model_folders.checkpoint(options.ckpt, "ckpt")
    outcome = evaluate(ckpt, data=options.data, overrides=overrides, batch_size=options.batch_size, trust=options.trust)
    show(outcome, as_json=options.json)


def show(outcome: Evaluation, *, as_json: bool = False) -> None:
    """The metrics as JSON, or as the table that a run prints."""
    from rich.console import Console
    from rich.markup import escape

    from dlzoo.training import metrics_table
    from dlzoo.utils import formatting

    if as_json:
        print(json.dumps(formatting.finite(outcome), indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(metrics_table.table(outcome["metrics"], outcome["expect"]))
    limit = outcome["limit_test_batches"]
    part = f", limited by trainer.limit_test_batches={limit}" if limit not in (None, 1.0) else ""
    console.print(
        f"[dim]{escape(short(outcome['model']))} on the test split of {escape(short(outcome['data']))}{part}; "
        f"{outcome['device']}, {outcome['precision']}, {outcome['num_parameters']:,} parameters[/dim]"
    )
