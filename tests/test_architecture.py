"""Each layer imports only what lies below it, no two modules import each other, and the top of the package is small."""

from __future__ import annotations

import ast
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


ASKED_BY_PROPERTY = {"task", "net", "spec", "target", "lightning_module"}
"""What the last part of an expression is called where it is a task, a net, a spec or a target."""

DECIDED = ("training", "config", "tasks/finetuning.py")
"""Where no task, net, spec or target is asked which class it is; what joins them is config/instantiate.py."""


def class_questions(text: str) -> list[str]:
    """The calls of isinstance, hasattr and getattr with a default that ask a task, a net, a spec or a target."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args):
            continue
        asks = node.func.id in ("isinstance", "hasattr") or (node.func.id == "getattr" and len(node.args) == 3)
        if asks and ast.unparse(node.args[0]).rpartition(".")[2] in ASKED_BY_PROPERTY:
            found.append(ast.unparse(node))
    return found


def test_class_questions_are_found() -> None:
    text = "isinstance(self.spec, A) or hasattr(twin.net, 'b') or getattr(task, 'c', 0) or getattr(task, name)"
    assert class_questions(text) == ["isinstance(self.spec, A)", "hasattr(twin.net, 'b')", "getattr(task, 'c', 0)"]


@pytest.mark.parametrize("place", DECIDED)
def test_no_task_net_or_spec_is_asked_which_class_it_is(place: str) -> None:
    files = [ROOT / "dlzoo" / place] if place.endswith(".py") else [*(ROOT / "dlzoo" / place).rglob("*.py")]
    assert files
    asked = {
        f"{file.relative_to(ROOT)}: {question}"
        for file in files
        if file.name != "instantiate.py"
        for question in class_questions(file.read_text(encoding="utf-8"))
    }
    known = {
        "dlzoo/config/allowlist.py: isinstance(target, str)",
        "dlzoo/config/introspection.py: isinstance(target, str)",
    }
    assert asked - known == set()
