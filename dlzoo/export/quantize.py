"""8-bit quantization: a smaller, faster file, and its cost in accuracy.

onnxruntime's static quantisation: the range of each activation is measured on training rows, weights get a scale per
output channel, and both are rounded to integers from -128 to 127 (B. Jacob et al., "Quantization and Training
of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018).
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from dlzoo.data.base import DataModule
from dlzoo.errors import UserError
from dlzoo.export.formats import Run, quiet, read_onnx, require
from dlzoo.tasks.views import View, first_batch
from dlzoo.utils.formatting import size_of

NUM_CALIBRATED = 512
"""Training rows used for calibration."""
NUM_TIMED = 200
BATCH_SIZE = 64
"""Batch size of the second latency."""


def command(view: View, data: DataModule, exported: Path) -> Path:
    """Quantise an exported ONNX file into <name>.int8.onnx, and print a comparison of both.

    Raises:
        UserError: the model predicts neither classes nor values, or has nothing to quantise.
    """
    if view.metrics() is None:
        raise UserError(
            "quantize=int8 measures the cost in accuracy, which needs a model that predicts classes or values"
        )
    path = exported.with_suffix(".int8.onnx")
    quantize(exported, path, calibration(view, data))
    files = {"float32": exported, "int8": path}
    rows = [(name, file, *measured(read_onnx(file, view)[0], view, data)) for name, file in files.items()]
    show(rows)
    return path


def quantize(exported: Path, path: Path, batches: Iterator[dict[str, Any]]) -> None:
    """Write the quantised file, calibrated on the batches."""
    quantization = require("onnxruntime.quantization", "onnx")
    from onnxruntime.quantization.shape_inference import quant_pre_process

    reader = type("Batches", (quantization.CalibrationDataReader,), {"get_next": lambda _: next(batches, None)})
    with tempfile.TemporaryDirectory() as folder, quiet():
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(exported), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(path),
            reader(),
            per_channel=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
        )
    if path.stat().st_size > 0.9 * exported.stat().st_size:
        path.unlink()
        raise UserError(
            "quantize=int8: nothing in this model can be quantised; only convolutions and linear layers can"
        )


def calibration(view: View, data: DataModule) -> Iterator[dict[str, Any]]:
    """Training rows in the file's input format, without augmentation."""
    data.setup("fit")
    remaining = NUM_CALIBRATED
    for x, *_ in data.batches("train"):
        yield {view.inputs[0].name: view.raw(x[:remaining]).numpy()}
        remaining -= len(x)
        if remaining <= 0:
            return


def measured(run: Run, view: View, data: DataModule) -> tuple[str, float, float, float]:
    """The metric's name and its value on the whole test split, and the latency in ms for one input and for a batch."""
    metrics = view.metrics()
    assert metrics is not None
    first = view.raw(first_batch(data)[0])
    for x, y, *_ in data.test_dataloader():
        (output,) = run(view.raw(x))
        metrics.update(*view.measured(output, y))
    name = "accuracy" if "accuracy" in metrics else "rmse"
    return name, float(metrics.compute()[name]), latency(run, first[:1]), latency(run, first[:BATCH_SIZE])


def latency(run: Run, x: Tensor) -> float:
    """Median latency in milliseconds."""
    times = []
    for _ in range(NUM_TIMED + 10):
        started = time.perf_counter()
        run(x)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times[10:])


def show(rows: list[tuple[str, Path, str, float, float, float]]) -> None:
    """Print a table: size, test metric, latency of one input and of a batch."""
    from rich.console import Console
    from rich.table import Table

    from dlzoo.utils.formatting import format_metric

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("", "size", f"test/{rows[0][2]}", "one input", f"{BATCH_SIZE} inputs", "file"):
        table.add_column(heading, justify="left" if heading in ("", "file") else "right")
    for name, file, score, value, one, many in rows:
        table.add_row(name, size_of(file), format_metric(score, value), f"{one:.3f} ms", f"{many:.2f} ms", str(file))
    console = Console(highlight=False, soft_wrap=True)
    console.print()
    console.print(table)
    before, after = (row[1].stat().st_size for row in rows)
    console.print(f"[dim]{before / after:.1f} times smaller; medians of {NUM_TIMED} calls on the CPU[/dim]")
