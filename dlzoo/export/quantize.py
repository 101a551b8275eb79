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
from operator import itemgetter
from pathlib import Path

import numpy as np

from dlzoo.data.base import DataModule
from dlzoo.errors import UserError
from dlzoo.export.formats import Run, quiet, read_onnx
from dlzoo.specs.batch import map_tensors
from dlzoo.tasks.views import Tensors, View, typical_batch
from dlzoo.utils.files import replaced
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


def quantize(exported: Path, path: Path, batches: Iterator[dict[str, np.ndarray]]) -> None:
    """Write the quantised file, calibrated on the batches."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    reader = type("Batches", (quantization.CalibrationDataReader,), {"get_next": lambda _: next(batches, None)})
    with tempfile.TemporaryDirectory() as folder, quiet():
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(exported), str(prepared), skip_symbolic_shape=True)
        with replaced(path) as temporary:
            quantization.quantize_static(
                str(prepared),
                str(temporary),
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


def calibration(view: View, data: DataModule) -> Iterator[dict[str, np.ndarray]]:
    """Training rows in the file's input format, without augmentation."""
    data.setup("fit")
    remaining = NUM_CALIBRATED
    for x, *_ in data.batches("train"):
        rows = view.raw(map_tensors(itemgetter(slice(remaining)), x))
        yield {port.name: tensor.numpy() for port, tensor in zip(view.inputs, rows, strict=True)}
        remaining -= len(rows[0])
        if remaining <= 0:
            return


def measured(run: Run, view: View, data: DataModule) -> tuple[str, float, float, float]:
    """The metric's name and its value on the whole test split, and the latency in ms for one input and for a batch."""
    metrics = view.metrics()
    assert metrics is not None
    first = view.raw(typical_batch(data)[0])
    for x, y, *_ in data.test_dataloader():
        output, *_ = run(*view.raw(x))
        metrics.update(*view.measured(output, y))
    values = metrics.compute()
    prefix = metrics.prefix or ""
    name = next(name for name in values if name in (f"{prefix}accuracy", f"{prefix}rmse"))
    one, many = (tuple(tensor[:num] for tensor in first) for num in (1, BATCH_SIZE))
    return name, float(values[name]), latency(run, one), latency(run, many)


def latency(run: Run, inputs: Tensors) -> float:
    """Median latency in milliseconds."""
    times = []
    for _ in range(NUM_TIMED + 10):
        started = time.perf_counter()
        run(*inputs)
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
