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

from dlzoo.errors import UserError
from dlzoo.export.formats import Run, need, quiet, read_onnx
from dlzoo.export.views import Predictor, View, as_bytes, first_batch
from dlzoo.utils.formatting import size_of

NUM_CALIBRATED = 512
"""Training rows that ranges are measured on."""
NUM_TIMED = 200
BATCH_SIZE = 64
"""Of the second latency."""


def command(view: View, source: Any, exported: Path) -> Path:
    """Quantise an exported ONNX file into <name>.int8.onnx, and print a table of both.

    Raises:
        UserError: the model answers neither with classes nor with values, or holds nothing to quantise.
    """
    if not isinstance(view, Predictor):
        raise UserError("quantize=int8 tells what it costs, and that is measured on classes or values only")
    path = exported.with_suffix(".int8.onnx")
    quantize(exported, path, calibration(view, source))
    files = {"float32": exported, "int8": path}
    rows = [(name, file, *measured(read_onnx(file, view)[0], view, source)) for name, file in files.items()]
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


def calibration(view: Predictor, source: Any) -> Iterator[dict[str, Any]]:
    """Training rows as the file takes them, not augmented."""
    source.setup("fit")
    left = NUM_CALIBRATED
    for x, *_ in source.batches("train"):
        yield {view.inputs[0].name: raw(view, x[:left]).numpy()}
        left -= len(x)
        if left <= 0:
            return


def measured(run: Run, view: Predictor, source: Any) -> tuple[str, float, float, float]:
    """The name of the score and its value on the whole test split, and milliseconds for one input and for a batch."""
    metrics = view.task.objective.metrics()
    first = raw(view, first_batch(source)[0])
    for x, y, *_ in source.test_dataloader():
        (answer,) = run(raw(view, x))
        metrics.update(answer.argmax(1) if "accuracy" in metrics else answer, y)
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


def raw(view: View, x: Tensor) -> Tensor:
    return as_bytes(x) if view.spec.images else x


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
