"""Predict with a checkpoint: the classes or values of images, of the rows of a table, or of texts, the next values of a
series, or images as an autoencoder reconstructs or cleans them.

    python scripts/predict.py ckpt=<run>/checkpoints/best.ckpt input=photo.png
    python scripts/predict.py ckpt=… input=<folder of images> format=json output=predictions.json
    python scripts/predict.py ckpt=… input=rows.csv
    python scripts/predict.py ckpt=… input=recent.csv                          the values of a series until now
    cat photo.png | python scripts/predict.py ckpt=… input=-
    python scripts/predict.py ckpt=… input="the food was awful"
    python scripts/predict.py model=resnet50 net.weights=imagenet input=photo.jpg

Options:
    ckpt       the checkpoint; nothing else of its run is needed
    model      instead of ckpt: a net of a library with its published weights and classes, not trained here;
               net.weights=imagenet or a file, and other options of the net, net.<option>=…
    input      an image, a folder of images, a CSV file whose header names the columns, a file with a text in each line
               (blank lines are left out), or a text itself, of two words or more; - reads standard input
    top_k      how many classes to tell, the most probable first (3; with model 5)
    format     table, json or csv; else as the ending of output says, or a table
    output     a file to write instead of the terminal
    trust      a package of yours whose parts the checkpoint names
    pictures   the folder for what an autoencoder makes of the images (reconstructions)
    invert     true for dark digits on light paper, where the training images were light on dark (false)
    fit        crop: scale until the image covers the size and take its centre; squash: give up its proportions; else
               as in training
    separator, decimal, encoding     of the CSV file; else as in training. Encoding also of a file of texts (utf-8)

Images become grey where the training images were. For the interval of several seeds' forecasts of a series see
scripts/forecast.py. Exit code 0 when all inputs were predicted, 2 if not.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlzoo.commands import cli
from dlzoo.commands import reconstruct as predict_pictures
from dlzoo.commands.inputs import Options, _source, batches
from dlzoo.commands.records import format_of, to_records, write_records
from dlzoo.errors import UserError, at_least
from dlzoo.inference.predict import predict
from dlzoo.inference.pretrained import load_pretrained
from dlzoo.utils import files as paths

if TYPE_CHECKING:
    pass


TOP_K = 3
TOP_K_OF_MANY = 5
"""With a library's net: ImageNet has 1,000 classes."""


def main() -> None:
    """The command."""
    cli.execute(command, __doc__)


def command(argv: Sequence[str]) -> None:
    """Predict as the words of a command line say."""
    # Messages of the table reader name the config's keys, data.separator=…: these are taken as well.
    options, net_words = cli.parse(Options, [word.removeprefix("data.") for word in argv], others=("net.",))
    at_least(1, top_k=options.top_k)
    if (options.ckpt is None) == (options.model is None):
        raise UserError("give ckpt=<run>/checkpoints/best.ckpt, or model=<a library's net> net.weights=imagenet")
    if net_words and options.ckpt is not None:
        raise UserError(f"{net_words[0]}: the net of a checkpoint is what it is; net.<option> goes with model=")
    ckpt = None if options.ckpt is None else paths.existing_file(options.ckpt, "ckpt")
    source = _source(options.input)
    read = [path for path in (ckpt, source) if path is not None]
    output = None if options.output is None else paths.writable(options.output, "output", *read)
    format = format_of(options.format, output)

    if ckpt is not None:
        task, cfg = cli.load(ckpt, options.trust)
        if task.spec.environment is not None:
            raise UserError(f"ckpt={ckpt}: its model ({type(task).__name__}) plays; see scripts/play.py")
    else:
        task, cfg = load_pretrained(str(options.model), net_words)
    if source is None and options.input != "-" and task.spec.texts is None:
        paths.existing(options.input, "input")  # says that it is not there
    problems: list[str] = []
    top_k = options.top_k or (TOP_K if ckpt is not None else TOP_K_OF_MANY)
    found, target = batches(options, task.spec, cfg, source, problems), task.predicted_target
    if (encoder := predict_pictures.encoder_of(task, options.pictures, options.top_k)) is not None:
        records, target = predict_pictures.reconstruct(encoder, found, options.pictures), predict_pictures.target()
    else:
        if target is None:
            raise UserError(
                f"ckpt={ckpt}: its model ({type(task).__name__}) predicts neither classes nor values; "
                "scripts/sample.py shows what it generates"
            )
        records = [record for names, x in found for record in to_records(names, predict(task, x), target, top_k)]
    if records:
        if task.spec.texts is not None and format == "table":
            records = [
                record | {"input": textwrap.shorten(record["input"], 80, placeholder=" …")} for record in records
            ]
        write_records(records, target, format, output)
    if problems:
        more = f", nor can {len(problems) - 1} others" if len(problems) > 1 else ""
        raise UserError(f"{problems[0]}{more}")
