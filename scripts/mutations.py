"""For mutate.py: generates all mutations of a module, and patches them into the imported module."""

from __future__ import annotations

import ast
import copy
import sys
import types
from collections import Counter
from collections.abc import Iterator
from typing import Any

SWAPS: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,), ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.Div,), ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,), ast.Mod: (ast.Mult,), ast.Pow: (ast.Mult,), ast.And: (ast.Or,), ast.Or: (ast.And,),
}  # fmt: skip
SKIPPED_FIELDS = ("annotation", "returns", "decorator_list", "exc", "type_params")
"""Fields that are not mutated: types and error messages."""


def with_(node: ast.AST, **fields: Any) -> ast.AST:
    """A copy of a node with some fields replaced."""
    changed = copy.copy(node)
    vars(changed).update(fields)
    return changed


def alternatives(node: ast.AST) -> Iterator[ast.AST]:
    """The mutations of a node."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        yield from (with_(node, ops=[other()]) for other in SWAPS.get(type(node.ops[0]), ()))
    elif isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp):
        yield from (with_(node, op=other()) for other in SWAPS.get(type(node.op), ()))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield ast.Constant(not node.value if isinstance(node.value, bool) else node.value + 1)
    elif isinstance(node, ast.IfExp):
        yield from (node.body, node.orelse)
    elif isinstance(node, ast.If) and not isinstance(node.test, ast.Compare | ast.BoolOp | ast.UnaryOp):
        yield with_(node, test=ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
        yield ast.Return(ast.IfExp(ast.Constant(True), ast.Constant(None), node.value))  # keeps using its names
    elif isinstance(node, ast.Call):
        first, keywords = node.args[:2], node.keywords
        if len(first) == 2 and not any(isinstance(arg, ast.Starred) for arg in first):
            yield with_(node, args=[*reversed(first), *node.args[2:]])
        yield from (with_(node, keywords=keywords[:i] + keywords[i + 1 :]) for i in range(len(keywords)))
    sets = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute | ast.Subscript)
    calls = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    if isinstance(node, ast.stmt) and (sets or calls or isinstance(node, ast.AugAssign | ast.Raise)):
        yield ast.If(ast.Constant(0), [node], [])  # a no-op that keeps using its names


class Change(ast.NodeTransformer):
    """Applies one mutation and records where: ``scope`` holds the names of the enclosing classes and function."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.scope: list[str] = []
        self.in_function = False
        self.label = ""

    def visit(self, node: ast.AST) -> Any:
        if self.label or isinstance(node, ast.Assert):
            return node
        for other in alternatives(node):
            if self.number == 0:
                both = (getattr(n, "test", n) if isinstance(node, ast.If) else n for n in (node, other))
                before, after = (ast.unparse(ast.fix_missing_locations(n)).replace("\n", " ") for n in both)
                after = "nothing" if after.startswith("if 0:") else after.partition(" if True else ")[0]
                self.label = f"{'.'.join(self.scope)}: {before} -> {after}"
                return other
            self.number -= 1
        around, was_in_function = [*self.scope], self.in_function
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not self.in_function:
            self.scope.append(node.name)
            self.in_function = isinstance(node, ast.FunctionDef)
        for name, value in ast.iter_fields(node):
            if isinstance(value, list) and name not in SKIPPED_FIELDS:
                value[:] = [self.visit(child) if isinstance(child, ast.AST) else child for child in value]
            elif isinstance(value, ast.AST) and name not in SKIPPED_FIELDS:
                setattr(node, name, self.visit(value))
        if not self.label:
            self.scope, self.in_function = around, was_in_function
        return node


def mutants(source: str) -> Iterator[tuple[Change, ast.Module]]:
    """All mutations of a module, each with the mutated module."""
    seen: Counter[str] = Counter()
    for number in range(10**6):
        change = Change(number)
        tree = change.visit(ast.parse(source))
        if not change.label:
            return
        seen[change.label] += 1
        change.label += f" #{seen[change.label]}" if seen[change.label] > 1 else ""
        yield change, ast.fix_missing_locations(tree)


def function_in(owner: Any, names: list[str]) -> tuple[Any, Any]:
    """The outermost function of a scope, or None, and its owner: the module or the innermost class."""
    for name in names:
        member = vars(owner)[name]
        if not isinstance(member, type):
            for attribute in ("fget", "__func__", "func", "__wrapped__"):
                member = getattr(member, attribute, None) or member
            return member, owner
        owner = member
    return None, owner


def patch_module(module: types.ModuleType, change: Change, tree: ast.Module) -> None:
    """Patch a function or values into a module, also where other modules have imported them."""
    mutated = types.ModuleType(module.__name__)
    vars(mutated).update(__file__=module.__file__)
    exec(compile(tree, str(module.__file__), "exec"), vars(mutated))
    (old, owner), (new, mutated_owner) = function_in(module, change.scope), function_in(mutated, change.scope)
    if old is not None:
        old.__code__, old.__defaults__, old.__kwdefaults__ = new.__code__, new.__defaults__, new.__kwdefaults__
        return
    for name, value in vars(mutated_owner).items():
        before = vars(owner).get(name)
        if isinstance(value, dict) and isinstance(before, dict) and name[:2] != "__":
            before.clear()
            before.update(value)
        elif isinstance(value, bool | int | float | str | tuple | set) and value != before and name[:2] != "__":
            modules = [m for m in {*sys.modules.values()} if before is not None and vars(m).get(name) is before]
            for holder in [owner, *modules]:
                setattr(holder, name, value)
