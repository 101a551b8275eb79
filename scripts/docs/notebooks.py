"""The notebooks, docs/notebooks/<name>.py: executed, with their outputs as pages, and as files to download."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dlzoo.errors import UserError, nearest
from scripts.docs.systems import ROOT

SOURCES = ROOT / "docs" / "notebooks"
SECONDS = 900
"""That a cell may take."""
MAX_LINES = 40
"""Of an output on a page."""
CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|.*\r(?!\n)")
"""What a terminal does not show: colours, and lines that others have overwritten."""
SEAL = "<!-- made from {} by python -m scripts.docs notebooks -->"


def names() -> list[str]:
    """The notebooks in the order of the course."""
    order = ["first_net", "own_data", "cnn", "transfer", "lstm_forecast", "text", "vae", "gan", "dqn", "sweep"]
    found = {path.stem for path in SOURCES.glob("*.py")}
    return [name for name in order if name in found] + sorted(found - {*order})


def title(name: str) -> str:
    """The heading of a notebook."""
    return next(line[4:] for line in source(name).read_text(encoding="utf-8").splitlines() if line.startswith("# # "))


def source(name: str) -> Path:
    """The file of a notebook, in the percent format of jupytext."""
    return SOURCES / f"{name}.py"


def seal(name: str) -> str:
    """What a page begins with: which source it was made from."""
    return SEAL.format(hashlib.sha256(source(name).read_bytes()).hexdigest()[:16])


def as_ipynb(name: str) -> str:
    """The notebook without outputs, as Jupyter and Colab open it."""
    import jupytext

    return jupytext.writes(jupytext.read(source(name)), "ipynb")


def make(chosen: Sequence[str]) -> None:
    """Execute notebooks, all of them by default, and write their pages and pictures below docs/notebooks.

    Raises:
        UserError: there is no such notebook.
    """
    for name in chosen or names():
        if name not in names():
            raise UserError(f"{name}: there is no such notebook; {nearest(name, names())}")
        folder = SOURCES / name
        for old in folder.glob("*.webp"):
            old.unlink()
        folder.mkdir(exist_ok=True)
        first, *others = _parts(executed(name), folder)
        text = "\n\n".join([seal(name), first, f"[Download this notebook]({name}.ipynb)", *others])
        (SOURCES / f"{name}.md").write_text(text + "\n", encoding="utf-8")
        print(f"{name:16} docs/notebooks/{name}.md", flush=True)


def executed(name: str) -> Any:
    """The notebook with the outputs of its cells, which ran in an empty folder."""
    import jupytext
    from nbclient import NotebookClient

    notebook = jupytext.read(source(name))
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            notebook, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": folder}}
        ).execute()
        return without_folder(notebook, folder)


def without_folder(notebook: Any, folder: str) -> Any:
    """The notebook with the name of its folder removed from the outputs of its cells."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if "text" in output:
                output["text"] = output["text"].replace(f"{folder}/", "")
            for kind, content in output.get("data", {}).items():
                if isinstance(content, str):
                    output["data"][kind] = content.replace(f"{folder}/", "")
    return notebook


def _parts(notebook: Any, folder: Path) -> Iterator[str]:
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            yield cell.source
            continue
        yield f"```python\n{cell.source}\n```"
        printed = ""
        for output in cell.outputs:
            text, picture = _text(output), _picture(output)
            if picture is None or "\n" in text.strip():  # a table above a picture
                printed += text
            if picture is None:
                continue
            if printed.strip():
                yield _block(printed)
                printed = ""
            path = folder / f"{len([*folder.glob('*.webp')]) + 1}.webp"
            path.write_bytes(picture)
            yield f"![]({folder.name}/{path.name})"
        if printed.strip():
            yield _block(printed)


def _text(output: Any) -> str:
    """What an output prints; empty for progress bars, which are gone when the cell has ended."""
    data = output.get("data", {})
    if "application/vnd.jupyter.widget-view+json" in data:
        return ""
    return CONTROL.sub("", output.get("text") or data.get("text/plain") or "").rstrip("\n") + "\n"


def _block(text: str) -> str:
    lines = [line.rstrip() for line in text.strip("\n").splitlines()]
    shown = [*lines[: MAX_LINES // 2], "…", *lines[-MAX_LINES // 2 :]] if len(lines) > MAX_LINES else lines
    return "```text\n" + "\n".join(shown) + "\n```"


def _picture(output: Any) -> bytes | None:
    """A picture in an output, as a small WebP: itself, or the first one that HTML holds, such as that of a run."""
    from PIL import Image

    data = output.get("data", {})
    found = re.search(r'src="data:image/[a-z]+;base64,([^"]+)"', data.get("text/html", ""))
    encoded = data.get("image/png") or data.get("image/gif") or (found and found[1])
    if not encoded:
        return None
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        content = io.BytesIO()
        is_film = getattr(image, "n_frames", 1) > 1
        small = image if is_film else image.convert("RGB")
        if not is_film:
            small.thumbnail((1000, 1000))
        small.save(content, "WEBP", quality=80, method=6, save_all=is_film)
        return content.getvalue()
