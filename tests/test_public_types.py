"""What the core packages take and give has a type: `Any` stands only where no other type is true."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

TYPED = ("callbacks", "layers", "losses", "metrics", "nets", "optim", "rl", "specs", "tasks")

ALLOWED = {
    "dlzoo/callbacks/early_stopping.py": (1, "a checkpoint as Lightning gives it"),
    "dlzoo/callbacks/model_checkpoint.py": (1, "options of Lightning's ModelCheckpoint"),
    "dlzoo/callbacks/progress.py": (1, "options of print"),
    "dlzoo/losses/heads.py": (2, "options for one target, or by target name"),
    "dlzoo/nets/cgan.py": (1, "options of GAN"),
    "dlzoo/nets/cvae.py": (1, "options of VAE"),
    "dlzoo/nets/timm_net.py": (1, "options of Backbone"),
    "dlzoo/nets/torchvision_net.py": (1, "options of Backbone"),
    "dlzoo/rl/environments.py": (2, "the spaces of an environment are known only once it is made"),
    "dlzoo/rl/wrappers.py": (1, "the same"),
    "dlzoo/specs/base.py": (2, "a target's rows: a tensor, for named targets a dict"),
    "dlzoo/specs/plain.py": (1, "a stored value of any kind of spec"),
    "dlzoo/tasks/base.py": (2, "attributes of a module, and a checkpoint as Lightning gives it"),
    "dlzoo/tasks/capabilities.py": (1, "inputs of a prediction: a tensor, for named inputs a dict"),
    "dlzoo/tasks/dbn.py": (1, "options of ContrastiveDivergence"),
    "dlzoo/tasks/interfaces.py": (2, "inputs of a prediction"),
    "dlzoo/tasks/ratings_rbm.py": (1, "options of ContrastiveDivergence"),
    "dlzoo/tasks/rbm.py": (1, "options of ContrastiveDivergence"),
    "dlzoo/tasks/rl/dqn.py": (1, "a checkpoint as Lightning gives it"),
    "dlzoo/tasks/stacked_autoencoder.py": (1, "options of Autoencoding"),
}
"""Files whose public signatures hold `Any`, how often, and for what."""


def test_core_packages_say_what_they_take_and_give() -> None:
    files = sorted(path for name in TYPED for path in (ROOT / "dlzoo" / name).rglob("*.py"))
    found = {path.relative_to(ROOT).as_posix(): [*untyped(path.read_text(encoding="utf-8"))] for path in files}
    num_allowed = {place: num for place, (num, _) in ALLOWED.items()}
    excess = [
        f"{place}:{line}" for place, lines in found.items() if len(lines) > num_allowed.get(place, 0) for line in lines
    ]
    assert excess == [], "\n".join(excess)
    assert {place: len(found.get(place, [])) for place in ALLOWED} == num_allowed, "ALLOWED can be shortened"


def untyped(code: str) -> Iterator[int]:
    """The lines of the public parameters, results and fields whose annotation holds `Any`, each once."""
    for annotation in annotations(ast.parse(code).body):
        if any(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(annotation)):
            yield annotation.lineno


def annotations(body: list[ast.stmt]) -> Iterator[ast.expr]:
    """Those of public functions, methods and fields."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from annotations(node.body)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and is_public(node.name):
            args = node.args
            parameters = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
            yield from filter(None, [*(p.annotation for p in parameters if p is not None), node.returns])
        elif isinstance(node, ast.AnnAssign) and is_public(ast.unparse(node.target)):
            yield node.annotation


def is_public(name: str) -> bool:
    return not name.startswith("_") or name.startswith("__")


@pytest.mark.parametrize(
    ("code", "num"),
    [
        ("def f(a: Any, *b: list[Any], c: int = 0, **d: Any) -> dict[str, Any]: ...", 4),
        ("class C:\n    x: Any\n    _x: Any\n    def __init__(self, y: Any) -> None: ...", 2),
        ("class _C:\n    x: Any\ndef _f(a: Any) -> Any: ...\ndef g(a: object, b: 'int') -> None:\n    c: Any = 1", 0),
    ],
)
def test_any_is_found_in_public_signatures(code: str, num: int) -> None:
    assert len([*untyped(code)]) == num
