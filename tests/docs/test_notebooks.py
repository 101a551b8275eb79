"""The notebooks run, and their pages were made from them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.docs import notebooks


@pytest.mark.parametrize("name", notebooks.names())
def test_the_page_was_made_from_the_notebook(name: str) -> None:
    page = notebooks.SOURCES / f"{name}.md"
    assert page.is_file(), "python -m scripts.docs notebooks"
    assert page.read_text(encoding="utf-8").startswith(notebooks.seal(name)), f"python -m scripts.docs notebooks {name}"


@pytest.mark.parametrize("name", notebooks.names())
def test_it_opens_in_jupyter_and_ends_with_exercises(name: str) -> None:
    pytest.importorskip("jupytext")
    cells = json.loads(notebooks.as_ipynb(name))["cells"]
    assert {cell["cell_type"] for cell in cells} == {"markdown", "code"}
    assert "## Exercises" in "".join(
        next(cell for cell in reversed(cells) if cell["cell_type"] == "markdown")["source"]
    )


def test_the_index_lists_each() -> None:
    index = (notebooks.SOURCES / "index.md").read_text(encoding="utf-8")
    assert all(f"({name}.md)" in index for name in notebooks.names())


SLOW = {name: [pytest.mark.slow] for name in notebooks.names() if name != "first_net"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW.get(name, ())) for name in notebooks.names()])
def test_it_runs(name: str, tmp_path: Path) -> None:
    """As a program, which needs no Jupyter: the percent format is Python."""
    script = (
        notebooks.source(name).read_text(encoding="utf-8").replace("from IPython.display import Image", "Image = open")
    )
    environment = os.environ | {"MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
