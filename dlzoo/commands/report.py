"""Write one HTML page about a run or a sweep: metrics, figures, config and environment; settings and trials.

    dlzoo report outputs/2026-11-24/09-00-00-lenet-mnist
    dlzoo report outputs/lenet output=lenet.html
    dlzoo report outputs/sweeps/2026-11-24/09-00-00

Options:
    output     the page (report.html in the folder of the run or sweep)

The page is a single self-contained file that opens in any browser, also on a phone and in dark mode. Of absolute paths
in options and warnings only the last name is shown. Exit code 0 on success, 2 on an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dlzoo.commands import cli, report_sweep
from dlzoo.commands.compare import Run, read_run
from dlzoo.commands.page_parts import document, escape, gallery, table, tile, tiled, without_folders
from dlzoo.config import run_files
from dlzoo.errors import UserError, visible
from dlzoo.sweep import record as records
from dlzoo.training.metrics_table import by_method, rival_rows
from dlzoo.utils import files as paths
from dlzoo.utils import untrusted
from dlzoo.utils.formatting import counted, format_metric

MAX_TEXT_BYTES = 2_000_000
SHOWN_ELSEWHERE = ("report.txt", "warnings.txt", "profile.txt")


@dataclass(frozen=True, kw_only=True)
class Options:
    output: str | None = None


def main() -> None:
    """The command."""
    cli.execute(command, __doc__)


def command(argv: Sequence[str]) -> None:
    """Write the page of the run or sweep that the arguments name."""
    folders = [arg for arg in argv if Path(arg).expanduser().is_dir() or "=" not in arg]
    options, _ = cli.parse(Options, [arg for arg in argv if arg not in folders])
    if len(folders) != 1:
        raise UserError("give one folder, of a run or a sweep: dlzoo report outputs/<date>/<time>-<model>-<data>")
    folder = paths.existing(folders[0], "the folder")
    is_run = (folder / ".hydra" / "config.yaml").is_file()
    if not is_run and not (folder / records.FILE).is_file():
        raise UserError(
            f"{folders[0]} is neither the folder of a run, which has a file .hydra/config.yaml, nor that of a sweep, "
            f"which has {records.FILE}"
        )
    output = paths.writable(options.output or str(folder / "report.html"), "output")
    text = page(read_run(folder)) if is_run else report_sweep.of_folder(folder)
    paths.write(output, text.encode(errors="backslashreplace"))
    print(f"report   {visible(output)}")


def page(run: Run) -> str:
    """The whole page as HTML."""
    chosen = run_files.choices(run.folder)
    title = f"{chosen.get('model', 'a model')} on {chosen.get('data', 'data')}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="about">{escape(about(run, chosen))}</p>',
        tiles(run),
        baselines(run),
        text("Warnings", run.folder / "warnings.txt"),
        gallery(run.folder),
        class_table(run.folder),
        text("Where a step's time went", run.folder / "profile.txt"),
        texts(run.folder),
        configuration(run, chosen),
        environment(run),
        epochs(run),
    ]
    return document(title, parts)


def about(run: Run, chosen: Mapping[str, str | None]) -> str:
    """One line below the title."""
    if not run.results:
        return f"{run.folder.name}: this run is unfinished or failed; {counted(len(run.epochs), 'epoch')} recorded"
    seconds, claim = run.results.get("seconds", {}).get("fit"), chosen.get("experiment")
    epochs = run.results.get("epochs")
    parts = {
        "{}": None if epochs is None else counted(epochs, "epoch"),
        " in {:.1f} s": seconds,
        " on {}": run.results.get("device"),
        ", {:,} parameters": run.results.get("num_parameters"),
        ", seed {}": run.results.get("seed"),
    }
    summary = "".join(template.format(value) for template, value in parts.items() if value is not None)
    return f"{run.folder.name}{f', experiment {claim}' if claim else ''}: {summary}"


def tiles(run: Run) -> str:
    """The test metrics in large type, with the claims; those of baselines have a table, see `baselines`."""
    claims = {claim["metric"]: claim for claim in run.results.get("expect", [])}
    metrics = run.results.get("metrics", {})
    compared = {f"baseline/{metric}_{method}" for method, own in by_method(metrics).items() for metric in own}
    shown = []
    for name, value in metrics.items():
        if (not name.startswith(("test/", "baseline/")) or name in compared) and name not in claims:
            continue
        verdict = ""
        if claim := claims.get(name):
            sign, bound = ("≥", claim["min"]) if "min" in claim else ("≤", claim["max"])
            state = "met" if claim.get("met") else "missed"
            bound_text = escape(f"{sign} {format_metric(name, bound)}, {claim.get('source', '')}".rstrip(", "))
            verdict = f'<br><span><span class="{state}">{state}</span>: {bound_text}</span>'
        shown.append(tile(format_metric(name, value), name, verdict))
    return tiled(shown)


def baselines(run: Run) -> str:
    """The net's test metrics above those of simple methods."""
    metrics = run.results.get("metrics", {})
    rivals = by_method(metrics)
    if not rivals:
        return ""
    names, rows = rival_rows(rivals, run.results.get("model") or "net", metrics)
    return f"<h2>Baselines</h2>{table(('test', *names), rows)}"


def class_table(folder: Path) -> str:
    """Precision, recall and F1 of each class."""
    path = run_files.find(folder, "report.csv")
    rows = [] if path is None else run_files.csv_rows(path)
    if not rows:
        return ""
    cells = [[_rounded(cell) if 0 < i < len(row) - 1 else cell for i, cell in enumerate(row.values())] for row in rows]
    return f"<h2>Classes</h2>{table(rows[0], cells)}"


def _rounded(cell: str) -> str:
    """A number with four decimals; other text unchanged."""
    try:
        return f"{float(cell):.4f}"
    except ValueError:
        return cell


def texts(folder: Path) -> str:
    """Text files of the run: samples of a language model, mistakes."""
    files = (path for path in folder.glob("*.txt") if path.name not in SHOWN_ELSEWHERE)
    shown = sorted(path for path in files if run_files.is_inside(folder, path))
    return "\n".join(text(path.stem.replace("_", " ").capitalize(), path) for path in shown)


def text(heading: str, path: Path) -> str:
    """A text file under a heading; empty if there is no such file."""
    if run_files.find(path.parent, path.name) is None:
        return ""
    content = run_files.read_bytes(path.parent, path, MAX_TEXT_BYTES)
    if content is None:
        return f"<p>{escape(heading)}: {escape(path.name)} is too large for this page</p>"
    shown = content.decode(errors="replace").replace("\r\n", "\n").rstrip()
    shown = without_folders(shown) if path.name in SHOWN_ELSEWHERE else shown  # others are data: samples, mistakes
    wrapped = ' class="prose"' if path.name == "warnings.txt" else ""
    return f"<h2>{escape(heading)}</h2><pre{wrapped}>{escape(shown)}</pre>"


def configuration(run: Run, chosen: Mapping[str, str | None]) -> str:
    """The choices, the overrides of the command line, and the full config."""
    rows = [(key, str(value)) for key, value in sorted(chosen.items()) if value not in (None, "none", "default")]
    overrides = run_files.overrides(run.folder)
    typed = f"<p>Overrides: <code>{escape(without_folders(' '.join(overrides)))}</code></p>" if overrides else ""
    whole = escape(without_folders(untrusted.read_text(run.folder / run_files.CONFIG).rstrip()))
    return (
        f"<h2>Config</h2>{typed}{table(('group', 'choice'), rows)}"
        f"<details><summary>full config</summary><pre>{whole}</pre></details>"
    )


def environment(run: Run) -> str:
    """Device, precision, versions, commit, seconds."""
    if not run.results:
        return ""
    results = run.results
    rows = [(name, str(results.get(name))) for name in ("device", "precision", "seed", "commit")]
    rows += [(name, str(version)) for name, version in results.get("versions", {}).items()]
    seconds = results.get("seconds", {}).items()
    rows += [(f"seconds of {name}", f"{value:.1f}") for name, value in seconds if value is not None]
    rows += [
        (f"{name} checkpoint", without_folders(str(path))) for name, path in results.get("checkpoints", {}).items()
    ]
    return f"<h2>Environment</h2>{table(('', ''), rows)}"


def epochs(run: Run) -> str:
    """metrics.csv as a collapsed table."""
    if not run.epochs:
        return ""
    heading = list(dict.fromkeys(key for row in run.epochs for key in row))
    rows = [[f"{row[key]:.5g}" if key in row else "" for key in heading] for row in run.epochs]
    return f"<h2>Epochs</h2><details><summary>{len(rows)} rows</summary>{table(heading, rows)}</details>"
