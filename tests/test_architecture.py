"""Each layer imports only what lies below it, no two modules import each other, and the top of the package is small."""

from __future__ import annotations

import ast
import builtins
from collections import Counter
from collections.abc import Iterable
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
    assert loose == {"__main__.py", "errors.py"}


def test_every_package_says_what_it_is_for() -> None:
    for file in (ROOT / "dlzoo").rglob("__init__.py"):
        text = file.read_text(encoding="utf-8")
        assert text.startswith('"""'), file
        assert len(text.split('"""')[1].split()) > 3, f"{file}: its docstring says too little"


# Who asks what a task, net, spec or target is, by its class or by its attributes: nobody but these.
KNOW_CLASSES = ("dlzoo/specs/", "dlzoo/config/instantiate.py")
"""Specs compare themselves; the config's parts are held against each other in one place."""

ALLOWED = {
    "dlzoo/data/text/base.py": (1, "whether a trained model reads texts as these data give them"),
    "dlzoo/data/text/tagged.py": (1, "whether a trained model reads tagged sentences"),
    "dlzoo/nets/base.py": (2, "which of a kind's members a net lacks"),
    "dlzoo/nets/timm_net.py": (1, "nets of timm, which have no common class"),
    "dlzoo/nets/torchvision_net.py": (3, "nets of torchvision, which have no common class"),
}
"""Files that may ask, how often, and what. Only to be shortened."""

ROLES = {"task", "net", "spec", "target", "pl_module", "lightning_module", "net_class", "task_class"}
"""What variables of these kinds are called, as attributes too: ``trainer.lightning_module``."""


def test_nobody_asks_for_the_class_of_a_task_net_spec_or_target() -> None:
    """Ask their methods: ``spec.images``, ``net.as_recurrent()``, ``task.as_encoder()``, `Report.applies_to`."""
    classes = class_names(ROOT / "dlzoo" / folder for folder in ("specs", "nets", "tasks"))
    found: dict[str, list[str]] = {}
    for file in sorted((ROOT / "dlzoo").rglob("*.py")):
        place = file.relative_to(ROOT).as_posix()
        if not place.startswith(KNOW_CLASSES):
            questions = class_questions(file.read_text(encoding="utf-8"), classes)
            found[place] = [f"{place}:{line}" for line in questions]
    num_allowed = {place: num for place, (num, _) in ALLOWED.items()}
    lines = [line for place, asked in found.items() for line in asked if len(asked) > num_allowed.get(place, 0)]
    assert lines == [], "\n".join(lines)
    assert {place: len(found[place]) for place in ALLOWED} == num_allowed, "ALLOWED can be shortened"


def class_names(folders: Iterable[Path]) -> set[str]:
    """All classes that are defined at the top of the modules below some folders."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for folder in folders for path in folder.rglob("*.py"))
    return {node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}


def class_questions(code: str, classes: set[str]) -> list[int]:
    """The lines that ask for the class of a task, net, spec or target, or whether it has an attribute.

    These are isinstance, issubclass, hasattr, getattr with a default, and comparisons of type(…).
    """
    lines = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Compare):
            sides = (node.left, *node.comparators)
            asks = any(isinstance(s, ast.Call) and called(s) == "type" and is_role(s.args[0]) for s in sides)
        elif isinstance(node, ast.Call) and called(node) in ("isinstance", "issubclass"):
            kinds = names_in(node.args[1])  # isinstance(target, str) asks about a _target_ of a config
            asks = bool(classes & kinds) or (is_role(node.args[0]) and not kinds <= {*dir(builtins)})
        elif isinstance(node, ast.Call) and called(node) in ("hasattr", "getattr"):
            asks = is_role(node.args[0]) and (called(node) == "hasattr" or len(node.args) == 3)
        else:
            continue
        lines += [node.lineno] if asks else []
    return sorted(lines)


def called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def is_role(node: ast.expr) -> bool:
    """Whether an expression is called as a task, net, spec or target is."""
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name.strip("_") in ROLES


def names_in(node: ast.expr) -> set[str]:
    """The classes that an expression names, without their modules."""
    parts = [*ast.walk(node)]
    ours = [n for n in parts if isinstance(n, ast.Attribute) and ast.unparse(n.value) != "nn"]  # nn.Linear is torch's
    return {n.id for n in parts if isinstance(n, ast.Name)} | {n.attr for n in ours}


@pytest.mark.parametrize(
    "code",
    [
        "isinstance(task, X)", "hasattr(self.net, 'weights')", "isinstance(x, targets.Classes)", "type(spec) is X",
        "getattr(pl_module, 'net', None)", "isinstance(x, int | Classes)", "isinstance(trainer.lightning_module, X)",
    ],
)  # fmt: skip
def test_such_questions_are_found(code: str) -> None:
    assert class_questions(f"x = 1\nif {code}:\n    pass", {"Classes"}) == [2]


@pytest.mark.parametrize(
    "code", ["isinstance(target, str)", "getattr(task, name)", "type(task).__name__", "hasattr(x, 'y')"]
)
def test_other_questions_are_allowed(code: str) -> None:
    assert class_questions(code, {"Classes"}) == []


def test_test_files_have_names_of_their_own() -> None:
    """pytest imports them by name alone: of two with the same name, the second cannot be collected."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("*.py"))
    assert [name for name, count in names.items() if count > 1] == []


# A composed config enters a run once; what comes after takes a RunConfig, or the fields that it needs.

CONFIG_ENTRIES = {
    "dlzoo/training/launch.py:__call__",  # what Hydra calls, and the two that it passes the config to
    "dlzoo/training/launch.py:job",
    "dlzoo/training/run.py:run",
}


def takes_composed_config(source: str) -> set[str]:
    """The functions whose annotations name a DictConfig, or whose parameter is called cfg whatever its type."""
    results = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            hints = [a.annotation for a in arguments if a.annotation is not None] + [node.returns] * bool(node.returns)
            if any("DictConfig" in ast.unparse(hint) for hint in hints if hint) or "cfg" in {a.arg for a in arguments}:
                results.add(node.name)
    return results


def test_a_composed_config_enters_a_run_once() -> None:
    files = [*(ROOT / "dlzoo" / "training").rglob("*.py")]
    files += [ROOT / "dlzoo" / "config" / f"{name}.py" for name in ("instantiate", "memory_check", "unused_options")]
    entries = {
        f"{file.relative_to(ROOT)}:{name}"
        for file in files
        for name in takes_composed_config(file.read_text(encoding="utf-8"))
    }
    assert entries == CONFIG_ENTRIES


def test_functions_that_take_a_composed_config_are_found() -> None:
    source = """
def by_type(config: DictConfig): ...
def by_name(cfg: Any): ...
def returned() -> Callable[[DictConfig], None]: ...
def typed(config: RunConfig): ...
"""
    assert takes_composed_config(source) == {"by_type", "by_name", "returned"}
