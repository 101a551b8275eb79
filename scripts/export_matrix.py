"""Exports every model in every format and verifies the files.

    python scripts/export_matrix.py                  all models
python scripts/export_matrix.py lenet vae        some; the others keep their stored results

Each model trains on two batches of suitable data, and its checkpoint is exported as by `scripts/export.py`. The outcome
is stored in results/export.json and included in RESULTS.md.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dlzoo.commands import cli
from dlzoo.commands.export import SUFFIXES, TOLERANCE
from dlzoo.config import compose as config
from dlzoo.config import groups, run_files
from dlzoo.errors import UserError, nearest
from dlzoo.inference import loading
from dlzoo.tasks.base import Task
from dlzoo.training import results
from scripts import stored

DATA = (
    ("data=digits", "data.batch_size=8", "data.eval_batch_size=8"),  # small batches, for the large nets
    ("data=wine",),
    ("data=synthetic", "data.kind=line"),
    ("data=sentiment_sentences",),
    ("data=conllu",),
    ("data=sentences_stream",),
    ("data=counting",),
    ("data=air_passengers",),
    ("data=cartpole", "data.val_episodes=1", "data.test_episodes=1"),
    ("data=frozen_lake", "data.val_episodes=1", "data.test_episodes=1"),
    ("data=ratings",),
    ("data=digit_sequences", "data.num_samples=200"),
    ("data=tones", "data.num_recordings=100", "data.seconds=0.2"),
)
"""One per kind of input and target; a model is trained on the first that suits it."""

NEEDED = {
    "timm": ["net.name=mobilenetv3_small_050"],
    "word_rnn": ["data.level=word"],
    "cnn": ["optimizer.lr=0.01"],  # at its default rate, two steps on so few images leave all units dead
    "perceptron": ["trainer.limit_train_batches=40"],  # after two of its corrections one class wins everywhere
    # asynchronous recall is refused, and Hebb's rule recalls digits, which are much alike, as one and the same state
    "hopfield": ["net.num_patterns=5", "net.update=synchronous", "net.rule=pseudo_inverse"],
    "modern_hopfield": ["net.num_patterns=5"],  # two batches do not hold the ten of the default, one of each class
    "rbf": ["net.num_centers=8", "callbacks.checkpoint.monitor=null"],  # of 16 rows; the output is fitted last
    "boltzmann_machine": ["task.statistics=sampled"],  # the states of so many pixels cannot be enumerated
    "q_table": ["net.start=1.0"],  # no reward so early: optimistic values tell states apart
}
"""Options that a model or its data require, or that such a short run needs."""

INDISTINGUISHABLE = "the checkpoint gives nearly the same output for different inputs, so nothing is verified"

NOT_EXPORTED = ("siamese",)
"""Models of several named inputs, for which there are no data here."""

FORMATS = tuple(SUFFIXES)
NAME = "export"


def main() -> None:
    """The command."""
    cli.execute(command, __doc__)


def command(argv: Sequence[str]) -> None:
    """Export the given models, or all, and store the outcome."""
    from scripts.results_table import read_store, save, write_table

    known = groups.names()["model"]
    for name in argv:
        if name not in known:
            raise UserError(f"{name}: unknown model; {nearest(name, known)}")
    root = Path.cwd()
    store = read_store(root, NAME)
    store["runs"] = {key: row for key, row in store["runs"].items() if key.split()[0] in known}
    for model in argv or [name for name in known if name not in NOT_EXPORTED]:
        store["runs"] = {key: row for key, row in store["runs"].items() if key.split()[0] != model}
        for key, row in rows_of(model, FORMATS):
            store["runs"][key] = row
            print(key, *(f"{format}: {describe_outcome(row[format])}" for format in FORMATS), sep="  ", flush=True)
        store["runs"] = dict(sorted(store["runs"].items()))
        store["versions"] = versions()
        save(root, NAME, store)
    write_table(root)


def rows_of(model: str, formats: Sequence[str], overrides: Sequence[str] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """(model, outcome by format), and a row for each further part that the task exports, such as a decoder."""
    from dlzoo.commands.export import Options, data_of, export

    with tempfile.TemporaryDirectory() as folder:
        ckpt = train_briefly(model, Path(folder), overrides)
        task, cfg = loading.load(ckpt)
        source = data_of(cfg, task, None, [])
        for part in parts_of(task):
            row: dict[str, Any] = {"data": cfg.names.data, "commit": results.commit()}
            for format in formats:
                options = Options(ckpt=str(ckpt), format=format, part=part or None)  # type: ignore[arg-type]
                output = Path(folder) / f"{model}{SUFFIXES[format]}"
                try:
                    _, verdict = export(task, cfg, source, output, options)
                    is_constant = verdict.spread <= TOLERANCE
                    row[format] = (
                        {"reason": INDISTINGUISHABLE}
                        if is_constant
                        else verdict._asdict() | {"bytes": output.stat().st_size}
                    )
                except UserError as error:
                    row[format] = {"reason": str(error)}
            yield f"{model} part={part}" if part else model, row


def parts_of(task: Task) -> tuple[str, ...]:
    """The parts of a task that are tried: the default one, "", and the others by name."""
    try:
        return ("", *[*task.export_views()][1:])
    except UserError:  # it refuses them all, and the row of the default says why
        return ("",)


def train_briefly(model: str, folder: Path, overrides: Sequence[str] = ()) -> Path:
    """The checkpoint of a short run: two batches of the first suitable data."""
    from dlzoo.training import run

    plain = ["trainer=smoke", "trainer.accelerator=cpu", "callbacks=checkpoint", "logger=none"]
    chosen = [f"model={model}", *plain, *data_for(model), *NEEDED.get(model, []), *overrides]
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run.run(config.compose(chosen), folder, chosen)
    return folder / "checkpoints" / "best.ckpt"


def data_for(model: str) -> Sequence[str]:
    """The first of `DATA` with inputs that the model's net accepts and a target that its task supports."""
    from dlzoo.config import instantiate as build

    parts = config.compose([f"model={model}"])
    net, task = build.net_class(parts.net), build.task_class(parts.task)
    for overrides in DATA:
        spec = build.build_data(config.compose(overrides).data).declare()
        if isinstance(spec, net.accepts) and isinstance(spec.target, task.targets):
            return overrides
    raise UserError(f"model={model}: none of the data suits it")


def versions() -> dict[str, str]:
    """Versions of the packages that write and read the files."""
    import onnx
    import onnxruntime

    return results.versions() | {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}


def describe_outcome(outcome: dict[str, Any]) -> str:
    """A short text for the terminal."""
    return outcome.get("reason") or f"verified to {outcome['difference']:.0e}"


def is_outcome(value: object) -> bool:
    """Whether this is the difference of an export, or the reason why there is none."""
    return isinstance(value, dict) and (
        run_files.is_number(value["difference"]) if "difference" in value else isinstance(value.get("reason"), str)
    )


ROW: Mapping[str, run_files.Check] = {
    "data": stored.is_str, "commit": run_files.is_str_or_none, **dict.fromkeys(FORMATS, is_outcome)
}  # fmt: skip
"""What is stored of a model."""


def section(root: Path) -> list[str]:
    """The table for RESULTS.md; nothing where nothing is stored."""
    from scripts.results_table import read_store

    store = read_store(root, NAME)
    if not store["runs"]:
        return []
    path = root / "results" / f"{NAME}.json"
    stored.check(store, {"versions": stored.is_versions}, path, "")
    for key, row in store["runs"].items():
        stored.check(row, ROW, path, f"runs.{key}")
    reasons: list[str] = []

    def cell(outcome: dict[str, Any]) -> str:
        if "difference" in outcome:
            return f"{outcome['difference']:.0e}" if outcome["difference"] else "0"
        if outcome["reason"] not in reasons:
            reasons.append(outcome["reason"])
        return f"no ({reasons.index(outcome['reason']) + 1})"

    rows = [
        f"| `{key}` | {row['data']} | {' | '.join(cell(row[format]) for format in FORMATS)} |"
        for key, row in store["runs"].items()
    ]
    tried = {key.partition(" ")[0] for key in store["runs"]}
    left = [f"`{name}`" for name in groups.names()["model"] if name not in tried]
    commits = sorted({str(row["commit"]) for row in store["runs"].values()})
    with_versions = ", ".join(
        [*(f"{name} {version}" for name, version in store["versions"].items()), f"commit {' '.join(commits)}"]
    )
    return [
        "## Export",
        "",
        "Generated by `python scripts/export_matrix.py`: each model trains on two batches, is exported by",
        "`scripts/export.py` in each format, and the file's outputs on real inputs, alone and in a batch, are compared",
        "with the checkpoint's. A value is the largest difference, relative to the largest output if that is above 1;",
        "above 1e-4 no file is written.",
        "",
        f"| model | data | {' | '.join(FORMATS)} |",
        f"| --- | --- |{' --- |' * len(FORMATS)}",
        *rows,
        "",
        *(f"{i}. {reason}" for i, reason in enumerate(reasons, 1)),
        *([""] if reasons else []),
        *([f"Not tried yet: {', '.join(left)}.", ""] if left else []),
        f"With {with_versions}.",
        "",
    ]


if __name__ == "__main__":
    main()
