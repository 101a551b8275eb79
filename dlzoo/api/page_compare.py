"""The HTML page that compares runs: a table to sort and filter, curves in one chart, pictures side by side.

It is a single file that needs no network; what it does is in page_compare.js. Text of the runs is escaped, and the page
forbids itself to load or run anything else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from dlzoo.api import page_parts as parts
from dlzoo.api.compared import COLOURS, COSTS, costs, curve_names, metric_names, shown_costs
from dlzoo.config import run_files
from dlzoo.errors import visible
from dlzoo.utils.formatting import counted, format_metric

if TYPE_CHECKING:
    from dlzoo.api.comparison import Comparison
    from dlzoo.api.run import Run

MAX_POINTS = 500
"""Of a curve; of longer ones every n-th epoch is drawn."""
MAX_PICTURE_BYTES = 4_000_000
MAX_PAGE_BYTES = 60_000_000
DASHES = ("", "8 3", "2 3")
"""Of the lines of the first runs, those that repeat their colours, and all others."""


def of(comparison: Comparison) -> str:
    """The whole page as HTML."""
    runs = comparison.runs
    lines = [(COLOURS[i % len(COLOURS)], DASHES[min(i // len(COLOURS), len(DASHES) - 1)]) for i in range(len(runs))]
    models = sorted({run.title for run in runs})
    title = f"{counted(len(runs), 'run')}: {', '.join(models[:3])}{', …' if len(models) > 3 else ''}"
    body = [
        f"<h1>{parts.escape(title)}</h1>",
        '<p class="about"><span id="count"></span>; click a heading to sort</p>',
        '<details id="filter"><summary>Filter by option</summary><div class="controls" id="filters"></div></details>',
        table(comparison, lines),
        chart(),
        *pictures(comparison),
        f'<script type="application/json" id="data">{embedded(data_of(comparison, lines))}</script>',
        f"<script>{_resource('page_compare.js')}</script>",
        "<noscript><p>Sorting, filters and curves need JavaScript.</p></noscript>",
    ]
    return parts.document(title, body, style=_resource("page_compare.css"), policy=True)


def _resource(name: str) -> str:
    return resources.files("dlzoo.api").joinpath(name).read_text(encoding="utf-8")


def embedded(data: object) -> str:
    """JSON that is no HTML, whatever its texts are.

    >>> embedded({"a": "</script>&"})
    '{"a":"\\\\u003c/script\\\\u003e\\\\u0026"}'
    """
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def shown(text: object) -> str:
    """Text of a run as it may be shown: without control characters, and without folders of the machine."""
    return parts.without_folders(visible(text, keep=""))


def data_of(comparison: Comparison, lines: list[tuple[str, str]]) -> dict[str, object]:
    """What the script needs: a name and a line for each run, options to filter by, curves by metric."""
    named = zip(comparison.names, lines, strict=True)
    return {
        "runs": [{"name": name, "colour": colour, "dash": dash} for name, (colour, dash) in named],
        "options": {shown(key): [*map(shown, values)] for key, values in options_of(comparison).items()},
        "curves": curves(comparison.runs),
    }


def options_of(comparison: Comparison) -> dict[str, list[str]]:
    """The options in which the runs differ, and how they ended."""
    states = [run.results.get("status") or "unfinished" for run in comparison.runs]
    return comparison.differences | ({"status": states} if len({*states}) > 1 else {})


def curves(runs: list[Run]) -> dict[str, list[dict[str, object]]]:
    """The curves of training and validation by metric, the loss first."""
    found: dict[str, list[dict[str, object]]] = {}
    for base in curve_names(runs):
        for i, run in enumerate(runs):
            for split in ("train", "val"):
                points = points_of(run, f"{split}/{base}")
                if points:
                    found.setdefault(shown(base), []).append({"run": i, "split": split, "points": points})
    return found


def points_of(run: Run, name: str) -> list[tuple[float, float | None]]:
    """Pairs of epoch and value; None where it is not finite."""
    rows = [row for row in run.epochs if name in row]
    step = math.ceil(len(rows) / MAX_POINTS) or 1
    kept = [row for i, row in enumerate(rows) if i % step == 0 or i == len(rows) - 1]
    rounded = [float(f"{row[name]:.5g}") for row in kept]  # the largest numbers round to infinity
    return [(row["epoch"], y if math.isfinite(y) else None) for row, y in zip(kept, rounded, strict=True)]


def table(comparison: Comparison, lines: list[tuple[str, str]]) -> str:
    """A row for each run: name, test metrics, the options in which the runs differ, other metrics, what it cost."""
    options = options_of(comparison)
    metrics = metric_names(comparison.runs)
    first = [name for name in metrics if name.startswith("test/")]
    others = [name for name in metrics if name not in first]
    heading = ["run", *first, *options, *others, *COSTS]
    rows = []
    for i, (name, run) in enumerate(zip(comparison.names, comparison.runs, strict=True)):
        colour, dash = lines[i]
        key = f'<span class="key" style="color:{colour};border-top-style:{"dashed" if dash else "solid"}"></span>'
        check = f'<input type="checkbox" checked aria-label="show {parts.escape(name)}">'
        cells = [f"<td>{check} {key}{parts.escape(name)} {parts.escape(run.path.name)}</td>"]
        cells += [_metric(run, metric) for metric in first]
        cells += [_option(values[i]) for values in options.values()]
        cells += [_metric(run, metric) for metric in others]
        cells += map(_number, costs(run), shown_costs(run))
        rows.append(f'<tr data-run="{i}">{"".join(cells)}</tr>')
    head = "".join(f"<th>{parts.escape(shown(text))}</th>" for text in heading)
    body = "\n".join(rows)
    return f'<div class="wide"><table id="runs"><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'


def _metric(run: Run, name: str) -> str:
    value = run.metrics.get(name)
    return _number(value, format_metric(name, value))


def _option(text: str) -> str:
    try:
        value = float(text)
    except ValueError:
        return f'<td class="text">{parts.escape(shown(text))}</td>'
    return _number(value if math.isfinite(value) else None, text)


def _number(value: float | None, text: str) -> str:
    attribute = "" if value is None else f' data-value="{value!r}"'
    return f'<td class="number"{attribute}>{parts.escape(text)}</td>'


def chart() -> str:
    """The place for the curves, with the choice of the metric."""
    return (
        '<h2>Curves</h2><div class="controls"><label>metric <select id="metric"></select></label>'
        '<label><input type="checkbox" id="log"> logarithmic</label>'
        "<label>thick: validation, thin: training</label></div>"
        '<div id="chart"><div id="tip" hidden></div></div>'
    )


def pictures(comparison: Comparison) -> Iterator[str]:
    """The pictures that several runs have, side by side, those of learning curves last: they are above."""
    names = dict.fromkeys(name for run in comparison.runs for name in run.pictures)
    budget, opened = MAX_PAGE_BYTES, " open"
    for name in sorted(names, key=lambda name: (name == "learning_curves", parts.rank(name), name)):
        figures = []
        for i, (letter, run) in enumerate(zip(comparison.names, comparison.runs, strict=True)):
            if name not in run.pictures:
                continue
            path = run.pictures.paths[name]
            content = run_files.read_bytes(run.path, path, min(MAX_PICTURE_BYTES, budget))
            budget -= len(content or b"")
            figures.append(_figure(i, f"{letter} {run.path.name}", path, content))
        heading = parts.escape(name.replace("_", " "))
        if len(figures) > 1:
            if opened:
                yield "<h2>Pictures</h2>"
            side = f'<div class="side">{"".join(figures)}</div>'
            yield f"<details{opened}><summary>{heading}</summary>{side}</details>"
            opened = ""


def _figure(i: int, caption: str, path: Path, content: bytes | None) -> str:
    image = parts.picture(path, content)
    return f'<figure data-run="{i}">{image}<figcaption>{parts.escape(caption)}</figcaption></figure>'
