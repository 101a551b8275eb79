"""Take a trained model out of the house: one file that answers as its checkpoint does, on real inputs, to 1e-4.

    python scripts/export.py ckpt=<run>/checkpoints/best.ckpt
    python scripts/export.py ckpt=… format=torch_export output=lenet.pt2
    python scripts/export.py ckpt=… quantize=int8
    python scripts/export.py ckpt=<of a VAE> part=decoder

Options:
    ckpt             the checkpoint; nothing else of its run is needed
    format           onnx            for onnxruntime, in any language (default)
                     torch_export    for torch.export.load, without dlzoo
                     safetensors     the net's weights by name; what rebuilds the net is in the header
                     state_dict      the same for load_state_dict; what rebuilds the net is in <output>.json
    output           the file (<model>-<data>.onnx, .pt2, .safetensors or .pt)
    part             decoder: of an autoencoder only what makes pictures from codes; the message for another name
                     lists the parts of the model
    quantize         int8: a second file, <output>.int8.onnx, with weights and activations of 8 bits, calibrated on
                     training rows; and a table of size, accuracy on the test split and latency of both
    data             a name of configs/data, whose test rows the file is verified on; else the checkpoint's own
    data.<option>    changes an option of the data, such as data.data_dir=/elsewhere
    trust            a package of yours whose parts the checkpoint names

The file begins with raw inputs: pixels from 0 to 255, features that are not standardised, values of a series; texts as
the numbers of their tokens. The batch size is free, and so is a text's length. Names of classes, units, columns and the
vocabulary are in its metadata. Exit code 0 when it was written and verified; otherwise nothing is left, and the exit
code is 2.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from dlzoo.commands import cli
from dlzoo.errors import UserError, visible
from dlzoo.utils import files as paths
from dlzoo.utils.formatting import size_of

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from torch import Tensor

    from dlzoo.data.base import DataModule
    from dlzoo.export.formats import Run
    from dlzoo.tasks.base import Task
    from dlzoo.tasks.views import View

TOLERANCE = 1e-4
"""Largest difference of an output, as a share of the largest output where that is above 1."""
NUM_VERIFIED = 64
"""Real inputs that a file is verified on."""
NUM_TRACED = 3
"""Inputs that a file is made with: another number than it is verified on, so that a size that was copied shows."""

SUFFIXES = {"onnx": ".onnx", "torch_export": ".pt2", "state_dict": ".pt", "safetensors": ".safetensors"}


@dataclass(frozen=True, kw_only=True)
class Options:
    ckpt: str
    format: Literal["onnx", "torch_export", "state_dict", "safetensors"] = "onnx"
    output: str | None = None
    part: str | None = None
    quantize: Literal["int8"] | None = None
    data: str | None = None
    trust: str | None = None


def main() -> None:
    """The command."""
    cli.execute(command, __doc__)


def command(argv: Sequence[str]) -> None:
    """Export as the words of a command line say."""
    from dlzoo.config import compose as config

    options, words = cli.parse(Options, argv, others=("data.",))
    config.prepare([*([f"data={options.data}"] if options.data else []), *words])  # typos, before torch is imported
    if options.quantize and options.format != "onnx":
        raise UserError(f"quantize={options.quantize} goes with format=onnx, not with format={options.format}")
    ckpt = paths.existing_file(options.ckpt, "ckpt")
    task, cfg = cli.load(ckpt, options.trust)
    source = data_of(cfg, task, options.data, words, options.trust)
    output = paths.writable(options.output or default_name(cfg, options.format), "output", ckpt)
    if output.suffix != SUFFIXES[options.format]:
        raise UserError(f"output={output}: the ending of format={options.format} is {SUFFIXES[options.format]}")
    view, verdict = export(task, cfg, source, output, options)
    show(view, output, verdict)
    if options.quantize:
        from dlzoo.checkpoint import data_changes as changed_data
        from dlzoo.commands import evaluate
        from dlzoo.export import quantize
        from dlzoo.inference import datasets

        tested = datasets.composed(cfg, options.data, words)
        changed_data.check_unseen(ckpt, tested, source, is_run_data=evaluate.is_own(options.data, words))
        quantize.command(view, source, output)


class Verdict(NamedTuple):
    """Of holding a file against its checkpoint; all as shares of the largest output where that is above 1."""

    num: int
    """Real inputs."""
    difference: float
    """The largest, of any output."""
    spread: float
    """How far the checkpoint's answers to the inputs lie apart, of the output that varies least; equal answers would
    verify little."""


def export(task: Task, cfg: DictConfig, source: DataModule, output: Path, options: Options) -> tuple[View, Verdict]:
    """Write the file and hold it against the checkpoint.

    Raises:
        UserError: this model cannot be written in this format, or the file answers otherwise; it is not left then.
    """
    import torch

    from dlzoo.export.formats import FORMATS, metadata_path
    from dlzoo.export.views import view_of

    format = FORMATS[options.format]
    view = view_of(task, options.part).eval()
    inputs = view.real_inputs(source, NUM_VERIFIED)
    temporary = output.with_name(f".{output.stem}.{secrets.token_hex(8)}{output.suffix}")
    metadata = metadata_of(task, cfg, view, options)
    try:
        try:
            format.write(view, few_of(view, inputs, NUM_TRACED), metadata, temporary)
            run, stored = format.read(temporary, view)
            if stored != metadata:
                raise UserError(f"format={options.format}: the metadata did not survive the file")
            with torch.no_grad():
                verdict = compare(view, run, inputs)
        except UserError:
            raise
        except Exception as error:  # exporters and runtimes have no family of errors
            reason = " ".join(str(error).split())[:300]
            raise UserError(
                f"format={options.format}: {cfg.names.model} cannot be written so ({type(error).__name__}: {reason})"
            ) from error
        for made, path in ((temporary, output), (metadata_path(temporary), metadata_path(output))):
            if made.is_file():
                made.replace(path)
    finally:
        for made in (temporary, metadata_path(temporary)):
            made.unlink(missing_ok=True)
    return view, verdict


def compare(view: View, run: Run, inputs: tuple[Tensor, ...]) -> Verdict:
    """A file's answers against the checkpoint's, on all inputs at once and on the first alone.

    Raises:
        UserError: they differ by more than the tolerance, or in shape.
    """
    difference, spread = 0.0, dict.fromkeys((port.name for port in view.outputs), 0.0)
    for given in (inputs, few_of(view, inputs, 1)):
        for port, found, wanted in zip(view.outputs, run(*given), view.expected(*given), strict=True):
            if found.shape != wanted.shape:
                raise UserError(
                    f"the file gives {port.name} {tuple(found.shape)}, the checkpoint {tuple(wanted.shape)}"
                )
            scale = max(1.0, float(wanted.abs().max()))
            apart = float((found - wanted).abs().max()) / scale
            if not apart <= TOLERANCE:  # nor NaN
                raise UserError(
                    f"the file's {port.name} differ from the checkpoint's by {apart:.1e}, more than {TOLERANCE:g}"
                )
            difference = max(difference, apart)
            axis = port.shape.index("batch")
            apart = float((wanted.amax(axis) - wanted.amin(axis)).max()) / scale
            spread[port.name] = max(spread[port.name], apart)
    return Verdict(inputs[0].shape[view.inputs[0].shape.index("batch")], difference, min(spread.values()))


def few_of(view: View, inputs: tuple[Tensor, ...], num: int) -> tuple[Tensor, ...]:
    """The first ``num`` of a batch."""
    axes = (port.shape.index("batch") for port in view.inputs)
    return tuple(
        tensor.narrow(axis, 0, min(num, tensor.shape[axis])).contiguous()
        for axis, tensor in zip(axes, inputs, strict=True)
    )


def data_of(
    stored: DictConfig, task: Task, data: str | None, words: Sequence[str], trust: str | None = None
) -> DataModule:
    """The data that the file is verified on, ready to give test batches."""
    from dlzoo.inference import datasets

    cfg = datasets.composed(stored, data, words, trust)
    source = datasets.build_data(cfg, task.spec)
    source.prepare_data()
    source.setup("test")
    return source


def metadata_of(task: Task, cfg: DictConfig, view: View, options: Options) -> dict[str, Any]:
    """What the file says of itself."""
    import dlzoo
    from dlzoo.export.formats import WEIGHTS_ONLY, card_of

    told = {"dlzoo": dlzoo.__version__, "model": cfg.names.model, "data": cfg.names.data}
    ports = {
        "inputs": [dataclasses.asdict(port) for port in view.inputs],
        "outputs": [dataclasses.asdict(port) for port in view.outputs],
    }
    card = {"card": card_of(task, cfg)} if options.format in WEIGHTS_ONLY else {}
    return json.loads(json.dumps(told | ports | task.spec.metadata() | card))  # tuples become lists, as in the file


def default_name(cfg: DictConfig, format: str) -> str:
    return f"{cfg.names.model}-{cfg.names.data}{SUFFIXES[format]}"


def show(view: View, output: Path, verdict: Verdict) -> None:
    """What was written, what goes in and what comes out."""
    print(f"{output}   {size_of(output)}")
    for what, ports in (("input", view.inputs), ("output", view.outputs)):
        for port in ports:
            shape = ", ".join(map(str, port.shape))
            print(visible(f"{what:8} {port.name} {port.dtype} ({shape}): {port.meaning}", keep=""))
    print(f"verified on {verdict.num} real inputs, in a batch and alone: largest difference {verdict.difference:.1e}")
    if verdict.spread < 10 * TOLERANCE:
        print("warning: the checkpoint answers all of them nearly alike, so that little is verified", file=sys.stderr)
