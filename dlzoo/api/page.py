"""The HTML page about a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dlzoo.api.page_parts import document, embedded, escape, gallery, table, tile, tiled, without_folders
from dlzoo.config import run_files
from dlzoo.training.metrics_table import by_method, rival_rows
from dlzoo.utils import untrusted
from dlzoo.utils.formatting import counted, format_metric

if TYPE_CHECKING:
    from dlzoo.api.run import Run

MAX_TEXT_BYTES = 2_000_000
SHOWN_ELSEWHERE = ("report.txt", "warnings.txt", "profile.txt")


def of_run(run: Run) -> str:
    """The whole page as HTML."""
    chosen = run_files.choices(run.path)
    parts = [
        f"<h1>{escape(run.title)}</h1>",
        f'<p class="about">{escape(about(run, chosen))}</p>',
        tiles(run),
        baselines(run),
        text("Warnings", run.path / "warnings.txt"),
        gallery(run.path),
        class_table(run.path),
        text("Where a step's time went", run.path / "profile.txt"),
        texts(run.path),
        configuration(run, chosen),
        environment(run),
        epochs(run),
    ]
    return document(run.title, parts)


def about(run: Run, chosen: Mapping[str, str | None]) -> str:
    """One line below the title."""
    if not run.results:
        return f"{run.path.name}: this run is unfinished or failed; {counted(len(run.epochs), 'epoch')} recorded"
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
    return f"{run.path.name}{f', experiment {claim}' if claim else ''}: {summary}"


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
    overrides = run_files.overrides(run.path)
    typed = f"<p>Overrides: <code>{escape(without_folders(' '.join(overrides)))}</code></p>" if overrides else ""
    whole = escape(without_folders(untrusted.read_text(run.path / run_files.CONFIG).rstrip()))
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


def fragment(run: Run) -> str:
    """What a notebook shows of a run: its figures of merit, its curves and one of its other pictures."""
    shown = [name for name in ("learning_curves", *run.pictures) if name in run.pictures]
    pictures = [embedded(run.path, run.pictures.paths[name]) for name in [*dict.fromkeys(shown)][:2]]
    about_run = f'<p class="about">{escape(about(run, run_files.choices(run.path)))}</p>'
    return "\n".join(filter(None, [f"<h3>{escape(run.title)}</h3>", about_run, measured(run), *pictures]))


def measured(run: Run) -> str:
    """The test metrics as a table; it needs no style sheet."""
    shown = {name: value for name, value in run.metrics.items() if name.startswith(("test/", "baseline/"))}
    rows = [(name, format_metric(name, value)) for name, value in shown.items()]
    return table(("metric", "value"), rows) if rows else ""
