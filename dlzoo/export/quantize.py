"""Numbers of 8 bits in place of 32: a smaller, faster file, and what that costs in accuracy.

onnxruntime's static quantisation: the range of each activation is measured on training rows, weights get a scale for
each output channel, and both are rounded to whole numbers from -128 to 127 (B. Jacob et al., "Quantization and Training
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
from dlzoo.export.formats import Run, need, quiet, read_onnx
from dlzoo.tasks.views import View, first_batch
from dlzoo.utils.formatting import size_of

NUM_CALIBRATED = 512
"""Training rows that ranges are measured on."""
NUM_TIMED = 200
BATCH_SIZE = 64
"""Of the second latency."""


def command(view: View, data: DataModule, exported: Path) -> Path:
    """Quantise an exported ONNX file into <name>.int8.onnx, and print a table of both.

    Raises:
        UserError: the model answers neither with classes nor with values, or holds nothing to quantise.
    """
    if view.metrics() is None:
        raise UserError("quantize=int8 tells what it costs, and that is measured on classes or values only")
    path = exported.with_suffix(".int8.onnx")
    quantize(exported, path, calibration(view, data))
    files = {"float32": exported, "int8": path}
    rows = [(name, file, *measured(read_onnx(file, view)[0], view, data)) for name, file in files.items()]
    show(rows)
    return path


def quantize(exported: Path, path: Path, batches: Iterator[dict[str, Any]]) -> None:
    """Write the quantised file, ranges measured on the batches."""
    quantization = need("onnxruntime.quantization", "onnx")
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
        raise UserError("quantize=int8: nothing in this model could be quantised; convolutions and linear layers can")


def calibration(view: View, data: DataModule) -> Iterator[dict[str, Any]]:
    """Training rows as the file takes them, not augmented."""
    data.setup("fit")
    left = NUM_CALIBRATED
    for x, *_ in data.batches("train"):
        yield {view.inputs[0].name: view.raw(x[:left]).numpy()}
        left -= len(x)
        if left <= 0:
            return


def measured(run: Run, view: View, data: DataModule) -> tuple[str, float, float, float]:
    """The name of the score and its value on the whole test split, and milliseconds for one input and for a batch."""
    metrics = view.metrics()
    assert metrics is not None
    first = view.raw(first_batch(data)[0])
    for x, y, *_ in data.test_dataloader():
        (answer,) = run(view.raw(x))
        metrics.update(*view.measured(answer, y))
    name = "accuracy" if "accuracy" in metrics else "rmse"
    return name, float(metrics.compute()[name]), latency(run, first[:1]), latency(run, first[:BATCH_SIZE])


def latency(run: Run, x: Tensor) -> float:
    """Milliseconds, the median over calls."""
    times = []
    for _ in range(NUM_TIMED + 10):
        started = time.perf_counter()
        run(x)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times[10:])


def show(rows: list[tuple[str, Path, str, float, float, float]]) -> None:
    """One table: size, score on the test split, latency of one input and of a batch."""
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
