"""Export a trained model to one file whose outputs match the checkpoint's on real inputs, to 1e-4.

    dlzoo export ckpt=<run>/checkpoints/best.ckpt
    dlzoo export ckpt=… format=torch_export output=lenet.pt2
    dlzoo export ckpt=… quantize=int8
    dlzoo export ckpt=<of a VAE> part=decoder

Options:
    ckpt             the checkpoint, whose run is not needed, or the folder of a run or of a published model
    format           onnx            for onnxruntime, in any language (default)
                     torch_export    for torch.export.load, without dlzoo
                     safetensors     the net's weights by name; the config to rebuild the net is in the header
                     state_dict      for load_state_dict; the config to rebuild the net is in <output>.json
    output           the file; default: <model>-<data>.onnx, .pt2, .safetensors or .pt in the run's folder, or in the
                     current one if the checkpoint lies in no run
    part             decoder: only the decoder of an autoencoder, from latents to images; the error for an unknown name
                     lists the parts of the model
    quantize         int8: also <output>.int8.onnx, with 8-bit weights and activations, calibrated on training rows,
                     and a table of size, test accuracy and latency of both files
    data             a name in configs/data, whose test rows verify the file; default: the checkpoint's data
    data.<option>    overrides an option of the data, such as data.data_dir=/elsewhere
    trust            a package of your own that the checkpoint uses

The exported model takes raw inputs: pixels from 0 to 255, features that are not standardised, values of a series, texts
as token ids. Batch size and text length are dynamic. Names of classes, units, columns and the vocabulary are in the
metadata. Exit code 0 if the file was written and verified; otherwise no file is left, and the exit code is 2.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from dlzoo.commands import cli, places
from dlzoo.errors import UserError, visible
from dlzoo.inference import loading
from dlzoo.utils import extras, model_folders
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
"""Largest difference of an output, relative to the largest output if that is above 1."""
NUM_VERIFIED = 64
"""Real inputs that a file is verified on."""
NUM_TRACED = 3
"""Inputs that a file is traced with: a batch size other than in the verification, so that a hard-coded one shows."""

SUFFIXES = {"onnx": ".onnx", "torch_export": ".pt2", "state_dict": ".pt", "safetensors": ".safetensors"}
PACKAGES = {"onnx": ("onnx", "onnxscript", "onnxruntime")}
"""The optional packages that a format needs."""


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
    """Export as the arguments specify."""
    from dlzoo.config.prepare import prepare

    options, overrides = cli.parse(Options, argv, others=("data.",))
    prepare([*([f"data={options.data}"] if options.data else []), *overrides])  # typos, before torch is imported
    if options.quantize and options.format != "onnx":
        raise UserError(f"quantize={options.quantize} needs format=onnx, not format={options.format}")
    extras.require(f"format={options.format}", *PACKAGES.get(options.format, ()))
    ckpt = model_folders.checkpoint(options.ckpt, "ckpt")
    task, cfg = loading.load(ckpt, options.trust)
    source = data_of(cfg, task, options.data, overrides, options.trust)
    default = places.default_path(default_name(cfg, options.format), "output", ckpt)
    output = paths.writable(options.output or str(default), "output", *model_folders.parts(ckpt))
    if output.suffix != SUFFIXES[options.format]:
        raise UserError(f"output={output}: the extension for format={options.format} is {SUFFIXES[options.format]}")
    view, verdict = export(task, cfg, source, output, options)
    show(view, output, verdict)
    if options.quantize:
        from dlzoo.api import evaluation
        from dlzoo.checkpoint import data_changes as changed_data
        from dlzoo.config.run_config import RunConfig
        from dlzoo.export import quantize
        from dlzoo.inference import datasets

        tested = datasets.composed(cfg, options.data, overrides)
        changed_data.check_unseen(
            ckpt, RunConfig.from_hydra(tested), source, is_run_data=evaluation.is_own(options.data, overrides)
        )
        quantize.command(view, source, output)


class Verdict(NamedTuple):
    """How a file compares with its checkpoint; differences are relative to the largest output if that is above 1."""

    num: int
    """Number of real inputs."""
    difference: float
    """The largest, of any output."""
    spread: float
    """Range of the checkpoint's outputs over the inputs, for the output that varies least; equal outputs would verify
    little."""


def export(task: Task, cfg: DictConfig, source: DataModule, output: Path, options: Options) -> tuple[View, Verdict]:
    """Write the file and compare it with the checkpoint.

    Raises:
        UserError: the model cannot be exported to this format, or the outputs differ; the file is then removed.
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
                raise UserError(
                    f"format={options.format}: the metadata read back from the file differ from those written"
                )
            with torch.no_grad():
                verdict = compare(view, run, inputs)
        except UserError:
            raise
        except Exception as error:  # exporters and runtimes share no base class of errors
            reason = " ".join(str(error).split())[:300]
            raise UserError(
                f"format={options.format}: {cfg.names.model} cannot be exported ({type(error).__name__}: {reason})"
            ) from error
        for written, path in ((temporary, output), (metadata_path(temporary), metadata_path(output))):
            if written.is_file():
                written.replace(path)
    finally:
        for leftover in (temporary, metadata_path(temporary)):
            leftover.unlink(missing_ok=True)
    return view, verdict


def compare(view: View, run: Run, inputs: tuple[Tensor, ...]) -> Verdict:
    """Compare a file's outputs with the checkpoint's, on all inputs in one batch and on the first alone.

    Raises:
        UserError: they differ by more than the tolerance, or in shape.
    """
    difference, spread = 0.0, dict.fromkeys((port.name for port in view.outputs), 0.0)
    for batch in (inputs, few_of(view, inputs, 1)):
        for port, actual, expected in zip(view.outputs, run(*batch), view.expected(*batch), strict=True):
            if actual.shape != expected.shape:
                raise UserError(
                    f"the file outputs {port.name} {tuple(actual.shape)}, the checkpoint {tuple(expected.shape)}"
                )
            scale = max(1.0, float(expected.abs().max()))
            error = float((actual - expected).abs().max()) / scale
            if not error <= TOLERANCE:  # also true of NaN
                raise UserError(
                    f"the file's {port.name} differ from the checkpoint's by {error:.1e}, more than {TOLERANCE:g}"
                )
            difference = max(difference, error)
            axis = port.shape.index("batch")
            extent = float((expected.amax(axis) - expected.amin(axis)).max()) / scale
            spread[port.name] = max(spread[port.name], extent)
    return Verdict(inputs[0].shape[view.inputs[0].shape.index("batch")], difference, min(spread.values()))


def few_of(view: View, inputs: tuple[Tensor, ...], num: int) -> tuple[Tensor, ...]:
    """The first ``num`` of a batch."""
    axes = (port.shape.index("batch") for port in view.inputs)
    return tuple(
        tensor.narrow(axis, 0, min(num, tensor.shape[axis])).contiguous()
        for axis, tensor in zip(axes, inputs, strict=True)
    )


def data_of(
    stored: DictConfig, task: Task, data: str | None, overrides: Sequence[str], trust: str | None = None
) -> DataModule:
    """The data that the file is verified on, set up for testing."""
    from dlzoo.inference import datasets

    cfg = datasets.composed(stored, data, overrides, trust)
    source = datasets.build_data(cfg, task.spec)
    source.prepare_data()
    source.setup("test")
    return source


def metadata_of(task: Task, cfg: DictConfig, view: View, options: Options) -> dict[str, object]:
    """The metadata of the file."""
    import dlzoo
    from dlzoo.export.formats import WEIGHTS_ONLY, manifest_of

    source = {"dlzoo": dlzoo.__version__, "model": cfg.names.model, "data": cfg.names.data}
    ports = {
        "inputs": [dataclasses.asdict(port) for port in view.inputs],
        "outputs": [dataclasses.asdict(port) for port in view.outputs],
    }
    manifest = {"card": manifest_of(task, cfg)} if options.format in WEIGHTS_ONLY else {}
    predicted = task.predicted_target
    spec = task.spec if predicted is None else task.spec.with_target(predicted)
    return json.loads(json.dumps(source | ports | spec.metadata() | manifest))  # tuples become lists, as in the file


def default_name(cfg: DictConfig, format: str) -> str:
    return f"{cfg.names.model}-{cfg.names.data}{SUFFIXES[format]}"


def show(view: View, output: Path, verdict: Verdict) -> None:
    """Print the file, its inputs and outputs, and the verification."""
    print(f"{output}   {size_of(output)}")
    for what, ports in (("input", view.inputs), ("output", view.outputs)):
        for port in ports:
            shape = ", ".join(map(str, port.shape))
            print(visible(f"{what:8} {port.name} {port.dtype} ({shape}): {port.meaning}", keep=""))
    print(f"verified on {verdict.num} real inputs, in a batch and alone: largest difference {verdict.difference:.1e}")
    if verdict.spread < 10 * TOLERANCE:
        print(
            "warning: the checkpoint's outputs for them are nearly identical, so this verifies little", file=sys.stderr
        )
