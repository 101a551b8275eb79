"""All commands under one name: ``dlzoo <command> …``, or ``python -m dlzoo <command> …``."""

from __future__ import annotations

import importlib
import runpy
import sys

from dlzoo import __version__
from dlzoo.errors import nearest
from dlzoo.utils.output import discard_output

COMMANDS = {
    "train": ("dlzoo.commands.train", "train and test a model; write metrics, figures and a checkpoint"),
    "evaluate": ("dlzoo.commands.evaluate", "test a checkpoint again, on its run's data or on other data"),
    "predict": ("dlzoo.commands.predict", "predict classes or values of images, tables, series and texts"),
    "inspect": ("dlzoo.commands.inspect_model", "show kernels, feature maps, Grad-CAM and mistakes of a classifier"),
    "sample": ("dlzoo.commands.sample", "generate images or text"),
    "encode": ("dlzoo.commands.encode", "write latents and anomaly scores of an autoencoder"),
    "words": ("dlzoo.commands.words", "ask word vectors: similar words, analogies, the odd one out"),
    "forecast": ("dlzoo.commands.forecast", "forecast the next steps of a series"),
    "play": ("dlzoo.commands.play", "play episodes with an agent, and record a video"),
    "filter_image": ("dlzoo.commands.filter_image", "convolve an image with fixed kernels"),
    "export": ("dlzoo.commands.export", "export to ONNX, torch.export, safetensors or a state dict, verified"),
    "publish": ("dlzoo.commands.publish", "write or upload a model with its card, as files that anybody can load"),
    "runs": ("dlzoo.commands.runs", "list runs, and tag, rename or delete them"),
    "compare": ("dlzoo.commands.compare", "compare runs: options, metrics, curves"),
    "report": ("dlzoo.commands.report", "write one HTML page about a run"),
    "new": ("dlzoo.commands.new", "start a net, data set, task, experiment or package of your own"),
    "best": ("dlzoo.commands.best", "print the command that reproduces a sweep's best trial"),
    "options": ("dlzoo.commands.options", "list every option of a model and its data, or the names in a group"),
    "schema": ("dlzoo.commands.schema", "write JSON Schemas, with which an editor completes and checks configs"),
    "rerun_step": ("dlzoo.commands.rerun_step", "repeat a failed step, and name the layer where it failed"),
}
"""The module of each command, and what it does."""


def usage() -> str:
    """What ``dlzoo --help`` prints."""
    lines = [f"    {name:14}{summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join(
        ["usage: dlzoo <command> …", "", *lines, "", "`dlzoo <command> --help` lists the options of a command."]
    )


def main() -> None:
    """Run the command that the first argument names; exit code 2 if there is no such command, 1 if the reader of the
    output, such as head, has closed it."""
    try:
        _run()
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
        sys.exit(1)


def _run() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("--help", "-h"):
        print(usage())
    elif name == "--version":
        print(f"dlzoo {__version__}")
    elif name not in COMMANDS:
        print(f"error: {name}: there is no such command; {nearest(name, COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    else:
        del sys.argv[1]
        module = COMMANDS[name][0]
        if name == "train":  # as the main module: Lightning starts the further processes of trainer=ddp from that
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        else:
            importlib.import_module(module).main()


if __name__ == "__main__":
    main()
