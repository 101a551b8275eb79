"""Write one HTML page about a run: metrics, curves, figures, per-class report, config and environment.

    python scripts/report.py outputs/2026-11-24/09-00-00-lenet-mnist
    python scripts/report.py outputs/lenet output=lenet.html

Options:
    output     the page (report.html in the run's folder)

The page is a single self-contained file that opens in any browser. Exit code 0 on success, 2 on an error.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from dlzoo.commands import cli
from dlzoo.commands.compare import Run, read_run
from dlzoo.config import run_files
from dlzoo.errors import UserError, visible
from dlzoo.utils import files as paths
from dlzoo.utils import untrusted

FIRST = ("learning_curves", "confusion_matrix", "predicted_against_true", "forecast", "predictions", "samples")
"""Figures in this order, then the others by name."""

TYPES = {".png": "image/png", ".gif": "image/gif", ".jpg": "image/jpeg", ".svg": "image/svg+xml"}
MAX_FIGURE_BYTES = 8_000_000
MAX_PAGE_BYTES = 100_000_000
MAX_TEXT_BYTES = 2_000_000
SHOWN_ELSEWHERE = ("report.txt", "warnings.txt", "profile.txt")

STYLE = """
:root { color-scheme: light dark; --ink: #222; --faint: #777; --line: #ddd; --paper: #fff; --shade: #f6f6f4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e4e4; --faint: #999; --line: #444; --paper: #1b1b1b;
  --shade: #262626; } img { background: #fff; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 1100px; padding: 2rem 1.5rem 4rem; }
h1 { font-size: 1.7rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.4rem 0 .7rem; }
p.about { color: var(--faint); margin: .2rem 0 1.6rem; }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; }
.tile { background: var(--shade); border-radius: 8px; padding: .7rem 1.1rem; min-width: 9rem; }
.tile b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.tile span { color: var(--faint); font-size: .85rem; } .met { color: #0a7d38; } .missed { color: #c8371f; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--faint); font-weight: 500; } th:first-child, td:first-child { text-align: left; }
.wide { overflow-x: auto; } img { max-width: 100%; border-radius: 4px; }
figure { margin: 0 0 1.6rem; } figcaption { color: var(--faint); font-size: .85rem; }
pre { background: var(--shade); border-radius: 8px; padding: 1rem; overflow-x: auto; font-size: .82rem; }
summary { cursor: pointer; color: var(--faint); }
"""


@dataclass(frozen=True, kw_only=True)
class Options:
    output: str | None = None


def main() -> None:
    """The command."""
    cli.execute(command, __doc__)


def command(argv: Sequence[str]) -> None:
    """Write the page of the run that the arguments name."""
    folders = [arg for arg in argv if Path(arg).expanduser().is_dir() or "=" not in arg]
    options, _ = cli.parse(Options, [arg for arg in argv if arg not in folders])
    if len(folders) != 1:
        raise UserError("give one run folder: report.py outputs/<date>/<time>-<model>-<data>")
    folder = paths.existing(folders[0], "run")
    if not (folder / ".hydra" / "config.yaml").is_file():
        raise UserError(f"{folders[0]} is not a run folder: a run folder has a file .hydra/config.yaml")
    output = paths.writable(options.output or str(folder / "report.html"), "output")
    paths.write(output, page(read_run(folder)).encode(errors="backslashreplace"))
    print(f"report   {output}")


def page(run: Run) -> str:
    """The whole page as HTML."""
    chosen = run_files.choices(run.folder)
    title = f"{chosen.get('model', 'a model')} on {chosen.get('data', 'data')}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="about">{escape(about(run, chosen))}</p>',
        tiles(run),
        text("Warnings", run.folder / "warnings.txt"),
        gallery(run.folder),
        class_table(run.folder),
        text("Where a step's time went", run.folder / "profile.txt"),
        texts(run.folder),
        configuration(run, chosen),
        environment(run),
        epochs(run),
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    body = "\n".join(filter(None, parts))
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n'
    )


def about(run: Run, chosen: dict[str, Any]) -> str:
    """One line below the title."""
    if not run.results:
        return f"{run.folder.name}: this run is unfinished or failed; {len(run.epochs)} epochs recorded"
    seconds, claim = run.results.get("seconds", {}).get("fit"), chosen.get("experiment")
    parts = {
        "{} epochs": run.results.get("epochs"),
        " in {:.1f} s": seconds,
        " on {}": run.results.get("device"),
        ", {:,} parameters": run.results.get("num_parameters"),
        ", seed {}": run.results.get("seed"),
    }
    summary = "".join(template.format(value) for template, value in parts.items() if value is not None)
    return f"{run.folder.name}{f', experiment {claim}' if claim else ''}: {summary}"


def tiles(run: Run) -> str:
    """The test metrics in large type, with the claims, alongside the baselines."""
    from dlzoo.utils.formatting import format_metric

    claims = {claim["metric"]: claim for claim in run.results.get("expect", [])}
    shown = []
    for name, value in run.results.get("metrics", {}).items():
        if not name.startswith(("test/", "baseline/")) and name not in claims:
            continue
        verdict = ""
        if claim := claims.get(name):
            sign, bound = ("≥", claim["min"]) if "min" in claim else ("≤", claim["max"])
            state = "met" if claim.get("met") else "missed"
            bound_text = escape(f"{sign} {format_metric(name, bound)}, {claim.get('source', '')}".rstrip(", "))
            verdict = f'<br><span><span class="{state}">{state}</span>: {bound_text}</span>'
        shown.append(f'<div class="tile"><b>{format_metric(name, value)}</b><span>{escape(name)}</span>{verdict}</div>')
    return f'<div class="tiles">{"".join(shown)}</div>' if shown else ""


def gallery(folder: Path) -> str:
    """Every figure of the run, embedded in the page."""
    files = [path for path in folder.iterdir() if path.suffix.lower() in TYPES and path.is_file()]
    files = [path for path in files if run_files.is_inside(folder, path)]
    order = {name: i for i, name in enumerate(FIRST)}
    shown, total = [], 0
    for path in sorted(files, key=lambda path: (order.get(path.stem, len(order)), path.name)):
        caption = escape(path.stem.replace("_", " "))
        total += path.stat().st_size
        if path.stat().st_size > MAX_FIGURE_BYTES or total > MAX_PAGE_BYTES:
            shown.append(f"<p>{caption}: {escape(path.name)} is too large for this page</p>")
            continue
        data = base64.b64encode(path.read_bytes()).decode()
        image = f'<img alt="{caption}" src="data:{TYPES[path.suffix.lower()]};base64,{data}">'
        shown.append(f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
    return "<h2>Figures</h2>\n" + "\n".join(shown) if shown else ""


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
    if path.stat().st_size > MAX_TEXT_BYTES:
        return f"<p>{escape(heading)}: {escape(path.name)} is too large for this page</p>"
    shown = visible(path.read_text(encoding="utf-8", errors="replace").rstrip())
    return f"<h2>{escape(heading)}</h2><pre>{escape(shown)}</pre>"


def configuration(run: Run, chosen: dict[str, Any]) -> str:
    """The choices, the overrides of the command line, and the full config."""
    rows = [(key, str(value)) for key, value in sorted(chosen.items()) if value not in (None, "none", "default")]
    overrides = run_files.overrides(run.folder)
    typed = f"<p>Overrides: <code>{escape(visible(' '.join(overrides)))}</code></p>" if overrides else ""
    whole = escape(visible(untrusted.read_text(run.folder / run_files.CONFIG).rstrip()))
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
    rows += [(f"{name} checkpoint", str(path)) for name, path in results.get("checkpoints", {}).items()]
    return f"<h2>Environment</h2>{table(('', ''), rows)}"


def epochs(run: Run) -> str:
    """metrics.csv as a collapsed table."""
    if not run.epochs:
        return ""
    heading = list(dict.fromkeys(key for row in run.epochs for key in row))
    rows = [[f"{row[key]:.5g}" if key in row else "" for key in heading] for row in run.epochs]
    return f"<h2>Epochs</h2><details><summary>{len(rows)} rows</summary>{table(heading, rows)}</details>"


def table(heading: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    cells = "".join(f"<th>{escape(visible(name))}</th>" for name in heading)
    lines = "\n".join(f"<tr>{''.join(f'<td>{escape(visible(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{cells}</tr>\n{lines}</table></div>'
