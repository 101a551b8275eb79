"""Write the latents of images or rows, from a checkpoint of an autoencoder, PCA or k-means, for other tools.

    dlzoo encode ckpt=<run>/checkpoints/best.ckpt output=codes.npz
    dlzoo encode ckpt=… data=fashion_mnist split=train output=codes.csv

Options:
    ckpt             the checkpoint, whose run is not needed, or the folder of a run or of a published model
    data             a name in configs/data; default: the data of the checkpoint's config, with the same splits
    data.<option>    overrides an option of the data, such as data.path=photos
    split            train, val or test (test)
    trust            a package of your own that the checkpoint uses
    output           .npz: arrays codes (N, D) with the latents, labels, names of the classes, errors; .csv: a row for
                     each input with its label, error and latent; default: codes.npz in the run's folder, or in the
                     current one if the checkpoint lies in no run

The error is the mean squared difference between an input and its reconstruction: an anomaly score. Exit code 0 on
success, 2 on an error.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dlzoo.commands import cli, places
from dlzoo.errors import UserError
from dlzoo.inference import loading
from dlzoo.utils import csv_writer as csv_files
from dlzoo.utils import files as paths
from dlzoo.utils import model_folders

if TYPE_CHECKING:
    import numpy as np

BATCH_SIZE = 512


@dataclass(frozen=True, kw_only=True)
class Options:
    ckpt: str
    data: str | None = None
    split: Literal["train", "val", "test"] = "test"
    trust: str | None = None
    output: str | None = None


def main() -> None:
    """The command."""
    cli.execute(command, __doc__)


def command(argv: Sequence[str]) -> None:
    """Encode as the arguments specify."""
    from dlzoo.config.prepare import prepare

    options, overrides = cli.parse(Options, argv, others=("data.",))
    ckpt = model_folders.checkpoint(options.ckpt, "ckpt")
    default = places.default_path("codes.npz", "output", ckpt)
    output = paths.writable(options.output or str(default), "output", ckpt)
    if output.suffix.lower() not in (".npz", ".csv"):
        raise UserError(f"output={output}: the extension must be .npz or .csv")
    prepare([*([f"data={options.data}"] if options.data else []), *overrides])  # typos, before torch is imported
    arrays = encode(ckpt, data=options.data, overrides=overrides, split=options.split, trust=options.trust)
    paths.write(output, as_npz(arrays) if output.suffix.lower() == ".npz" else as_csv(arrays))
    num, size = arrays["codes"].shape
    print(f"latents   {output}: {num:,} of dimension {size}")


def encode(
    ckpt: Path,
    *,
    data: str | None = None,
    overrides: Sequence[str] = (),
    split: Literal["train", "val", "test"] = "test",
    trust: str | None = None,
) -> dict[str, np.ndarray]:
    """Latents "codes" (N, D), "labels" (N,) or values (N, D), "names" of the classes or values, or of the rows of
    a table without a target, and "errors" (N,).

    Raises:
        UserError: the checkpoint's task does not encode, or the data do not match it.
    """
    import numpy as np
    import torch

    from dlzoo.data.base import InMemoryData
    from dlzoo.inference import datasets
    from dlzoo.specs.batch import Batch

    loaded, stored = loading.load(ckpt, trust)
    task = loaded.as_encoder()
    if task is None:
        raise UserError(
            f"ckpt={ckpt}: its model ({type(loaded).__name__}) does not encode; give the checkpoint of an "
            "autoencoder, PCA or k-means"
        )
    cfg = datasets.composed(stored, data, overrides, trust)
    source = datasets.build_data(cfg, task.spec)
    assert isinstance(source, InMemoryData)
    source.prepare_data()
    rows = source.arrays(split)
    latents, errors = [], []
    with torch.inference_mode():
        for x, y in zip(rows.x.split(BATCH_SIZE), rows.y.split(BATCH_SIZE), strict=True):
            x = source.prepared(Batch(x, y)).inputs
            latents.append(task.encode(x, y))
            errors.append((task.decode(latents[-1], y) - x).square().flatten(1).mean(1))
    return {
        "codes": torch.cat(latents).numpy(),
        "labels": rows.y.numpy(),
        "names": np.array(task.spec.target.names or source.row_names, dtype=str),
        "errors": torch.cat(errors).numpy(),
    }


def as_npz(arrays: dict[str, np.ndarray]) -> bytes:
    import numpy as np

    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()


def as_csv(arrays: dict[str, np.ndarray]) -> bytes:
    """label (the name of a class or row, if there are any, or a column for each value), error, z0, z1, …"""
    labels, names, size = arrays["labels"], arrays["names"].tolist(), arrays["codes"].shape[1]
    has_values = labels.ndim > 1
    headings = names if has_values or not names else ["label"]
    text = io.StringIO()
    writer = csv_files.Writer(text, lineterminator="\n")
    writer.writerow([*headings, "error", *(f"z{i}" for i in range(size))])
    for label, error, latent in zip(labels.tolist(), arrays["errors"].tolist(), arrays["codes"].tolist(), strict=True):
        cells = label if has_values else [names[label]] if names else []
        writer.writerow([*cells, f"{error:.6g}", *(f"{z:.6g}" for z in latent)])
    return text.getvalue().encode()
