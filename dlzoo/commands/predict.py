"""Predict with a checkpoint: classes or values of images, recordings, table rows or texts, tags of words, the next
values of a series, or images as an autoencoder reconstructs or denoises them.

    dlzoo predict ckpt=<run>/checkpoints/best.ckpt input=photo.png
    dlzoo predict <run>/checkpoints/best.ckpt photo.png             the same
    dlzoo predict ckpt=… input=<folder of images> format=json output=predictions.json
    dlzoo predict ckpt=… input=seven.wav
    dlzoo predict ckpt=… input=rows.csv
    dlzoo predict ckpt=… input=recent.csv                          the most recent values of a series
    cat photo.png | dlzoo predict ckpt=… input=-
    echo '{"size": 3, "colour": "red"}' | dlzoo predict ckpt=… input=- format=jsonl
    dlzoo predict ckpt=… input="the food was awful"
    dlzoo predict ckpt=… input=reviews.csv text=review
    dlzoo predict model=resnet50 net.weights=imagenet input=photo.jpg

Options:
    ckpt       the checkpoint, whose run is not needed, or the folder of a run or of a published model
    model      instead of ckpt: a library's net with its published weights and classes, without training here;
               net.weights=imagenet or a file, and other options of the net, net.<option>=…
    input      an image or a recording, a folder of these, a CSV file whose header names the columns, a file with one
               text per line (blank lines are skipped), or a text itself, such as a word without a dot or slash that
               names no file; - reads standard input. Rows and texts may also be JSON: a list of objects, or an object
               in each line (.json, .jsonl, or -)
    text       of a CSV file of texts, the column that contains them; default: as in training
    top_k      number of classes to list, the most probable first (3; with model 5)
    format     table, json, jsonl or csv; default: by the extension of output, or a table
    output     a file to write instead of the terminal
    trust      a package of your own that the checkpoint uses
    pictures   the folder for the images that an autoencoder outputs; default: reconstructions/ in the run's folder, or
               in the current one if the checkpoint lies in no run. Of a net that predicts boxes: the folder for the
               images with these drawn; default: none
    invert     true for dark digits on light paper, if the training images were light on dark (false)
    fit        crop: scale until the image covers the size, then crop the centre; squash: ignore the aspect ratio;
               default: as in training
    separator, decimal, encoding, header, quotes     of the CSV file; default: as in training. Encoding also of a text
               file (utf-8)

Images are converted to grey if the training images were grey. For the interval of several seeds' forecasts see
dlzoo forecast. Exit code 0 if all inputs were predicted, else 2.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence

from dlzoo.commands import anomalies, cli, reconstruct
from dlzoo.commands.box_pictures import BoxPictures
from dlzoo.commands.inputs import Options, _source, batches
from dlzoo.commands.records import format_of, write_records
from dlzoo.errors import UserError, at_least
from dlzoo.inference import loading
from dlzoo.inference.inputs import check_readable
from dlzoo.inference.predict import predict
from dlzoo.inference.pretrained import load_pretrained
from dlzoo.inference.records import to_records
from dlzoo.utils import files as paths
from dlzoo.utils import model_folders

TOP_K = 3
TOP_K_OF_MANY = 5
"""For a library's net: ImageNet has 1,000 classes."""


def main() -> None:
    """The command."""
    by_model = any(arg.startswith("model=") for arg in sys.argv[1:])
    cli.execute(command, __doc__, ("input",) if by_model else ("ckpt", "input"))


def command(argv: Sequence[str]) -> None:
    """Predict as the arguments specify."""
    # Messages of the table reader name the config's keys, data.separator=…: these are accepted as well.
    options, net_overrides = cli.parse(Options, [arg.removeprefix("data.") for arg in argv], others=("net.",))
    at_least(1, top_k=options.top_k)
    if (options.ckpt is None) == (options.model is None):
        raise UserError("give ckpt=<run>/checkpoints/best.ckpt, or model=<a library's net> net.weights=imagenet")
    if net_overrides and options.ckpt is not None:
        raise UserError(f"{net_overrides[0]}: the net of a checkpoint cannot be changed; net.<option> needs model=")
    ckpt = None if options.ckpt is None else model_folders.checkpoint(options.ckpt, "ckpt")
    source = _source(options.input)
    sources = [*([] if ckpt is None else model_folders.parts(ckpt)), *([] if source is None else [source])]
    output = None if options.output is None else paths.writable(options.output, "output", *sources)
    format = format_of(options.format, output)

    if ckpt is not None:
        task, cfg = loading.load(ckpt, options.trust)
        if task.spec.environment is not None:
            raise UserError(f"ckpt={ckpt}: its model ({type(task).__name__}) is an agent; use dlzoo play")
    else:
        task, cfg = load_pretrained(str(options.model), net_overrides)
    if source is None and options.input != "-" and task.spec.texts is None:
        paths.existing(options.input, "input")  # raises: it does not exist
    problems: list[str] = []
    top_k = options.top_k or (TOP_K if ckpt is not None else TOP_K_OF_MANY)
    if (detector := task.as_detector()) is not None:
        write_records(anomalies.records(detector, options, cfg, source), format, output)
        return
    inputs, target = batches(options, task.spec, cfg, source, problems), task.predicted_target
    with_boxes = None
    if options.pictures is not None and target is not None and target.box_names:
        with_boxes = BoxPictures(options.pictures, target)
    if with_boxes is None and (encoder := reconstruct.encoder_of(task, options.pictures, options.top_k)) is not None:
        records = reconstruct.reconstruct(encoder, inputs, options.pictures, ckpt)
    else:
        if target is None:
            raise UserError(
                f"ckpt={ckpt}: its model ({type(task).__name__}) predicts neither classes nor values; see dlzoo sample"
            )
        plain = ((names, predict(task, x)) for names, x in inputs)
        parts = plain if with_boxes is None else with_boxes.drawn(task, inputs)
        records = [record for names, result in parts for record in to_records(names, result, target, top_k, task.spec)]
    if with_boxes is not None:
        with_boxes.write()
    if records:
        if task.spec.texts is not None and format == "table":
            records = [
                record | {"input": textwrap.shorten(record["input"], 80, placeholder=" …")} for record in records
            ]
        write_records(records, format, output)
    check_readable(problems)
