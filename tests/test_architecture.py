"""Each layer imports only what lies below it, no two modules import each other, and the top of the package is small."""

from __future__ import annotations

from pathlib import Path

import grimp
import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[1]


def test_the_import_contracts(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    code = lint_imports(config_filename="pyproject.toml", no_cache=True)
    assert code == 0, capfd.readouterr().out


def test_no_circle_of_imports() -> None:
    graph = grimp.build_graph("dlzoo", cache_dir=None, exclude_type_checking_imports=True)
    assert circles({name: graph.find_modules_directly_imported_by(name) for name in graph.modules}) == []


def circles(imports: dict[str, set[str]]) -> list[str]:
    """Modules that can be reached from what they import."""
    found = []
    for start in sorted(imports):
        seen: set[str] = set()
        waiting = [*imports[start]]
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += imports.get(name, set())
        if start in seen:
            found.append(start)
    return found


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == ["b", "c"]


def test_few_modules_lie_beside_the_packages() -> None:
    loose = {path.name for path in (ROOT / "dlzoo").glob("*.py")} - {"__init__.py"}
    assert loose == {"__main__.py", "errors.py", "train.py"}


def test_every_package_says_what_it_is_for() -> None:
    for file in (ROOT / "dlzoo").rglob("__init__.py"):
        text = file.read_text(encoding="utf-8")
        assert text.startswith('"""'), file
        assert len(text.split('"""')[1].split()) > 3, f"{file}: its docstring says too little"
