"""JSON Schemas (draft 2020-12) of options and parts, from the types of their annotations.

Pydantic describes plain types. What it cannot describe has a stated fallback: a class is an object, whose ``_target_``
and options are those of a part; a function, and an annotation that cannot be followed, may be any value.

Everywhere a reference such as ``${seed}`` may stand in place of a value. Only keywords that editors handle well are
used: ``if`` and ``else``, whose messages name what is wrong, in place of ``anyOf`` wherever the choice is decidable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from dlzoo.config.bounds import Bounds
from dlzoo.config.options import REQUIRED, Expression, Option, Part
from dlzoo.config.source_types import UNKNOWN

Schema = dict[str, Any]

REFERENCE: Schema = {"type": "string", "pattern": r"\$\{|^\?\?\?$"}
"""A reference to another key, such as ``${seed}``, or ``???`` for a value that must be given. It has no description,
which editors would show for every option."""
NEVER: Schema = {"not": {}}
"""What no value fits: YAML cannot write a tensor."""
BUILT_IN = r"^(dlzoo|torch|lightning)\."


def ref(name: str) -> Schema:
    """A reference to a definition of the same file."""
    return {"$ref": f"#/$defs/{name}"}


def unless_reference(schema: Schema) -> Schema:
    """What a value must be if it is not a reference."""
    if not schema or (schema.get("type") == "string" and not {*schema} - {"type", "format"}):
        return schema
    examples = {"examples": values} if (values := _values(schema)) else {}
    return examples | {"if": ref("reference"), "else": schema}


def _values(schema: Schema) -> list[object]:
    """The values that an editor can offer, which it does not look for in conditions."""
    flags = [True, False] if "boolean" in schema.get("type", ()) else []
    return [*schema.get("enum", ()), *flags]


def of_type(hint: Any) -> Schema:
    """The schema of an annotation's values as YAML writes them; ``{}``, which any value fits, if it has none.

    >>> from typing import Literal
    >>> of_type(int | None), of_type(Literal["a", "b"] | None)
    ({'type': ['integer', 'null']}, {'enum': ['a', 'b', None]})
    """
    return _of_written(repr(hint), hint)


@cache
def _of_written(written: str, hint: Any) -> Schema:
    """The schema of an annotation as it is written: ``int | str`` equals ``str | int``, but not so their schemas."""
    if hint is UNKNOWN:
        return {}
    from pydantic import ConfigDict, PydanticUndefinedAnnotation, PydanticUserError, TypeAdapter

    try:
        adapter: TypeAdapter[Any] = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
        schema = adapter.json_schema(schema_generator=_generator())
    except (PydanticUserError, PydanticUndefinedAnnotation):
        return {}
    return _simplified(_inlined(schema, schema.pop("$defs", {})))


def _generator() -> Any:
    """Pydantic's generator, with the fallbacks for classes and functions; importing it takes a moment."""
    from pydantic.json_schema import GenerateJsonSchema

    class Generator(GenerateJsonSchema):
        def is_instance_schema(self, schema: Mapping[str, Any]) -> Schema:
            return NEVER if schema["cls"].__name__ == "Tensor" else {"type": "object"}

        def dataclass_schema(self, schema: Mapping[str, Any]) -> Schema:
            return {"type": "object"}

        def callable_schema(self, schema: Mapping[str, Any]) -> Schema:
            return {}

    return Generator


def _inlined(node: Any, definitions: Mapping[str, Schema]) -> Any:
    """A schema with each reference to a definition of its own replaced by it."""
    if isinstance(node, list):
        return [_inlined(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _inlined(definitions[node["$ref"].rpartition("/")[2]], definitions)
    return {key: _inlined(value, definitions) for key, value in node.items()}


def _simplified(node: Any) -> Any:
    """A schema of pydantic in which the elements of lists and dicts may be references, without what says nothing."""
    if isinstance(node, list):
        return [_simplified(item) for item in node]
    if not isinstance(node, dict):
        return node
    schema = {key: _simplified(value) for key, value in node.items() if key not in ("title", "default", "description")}
    if "properties" in schema:  # of a TypedDict
        schema["properties"] = {name: unless_reference(item) for name, item in schema["properties"].items()}
        schema["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            schema[key] = unless_reference(schema[key])
    if "prefixItems" in schema:
        schema["prefixItems"] = [unless_reference(item) for item in schema["prefixItems"]]
    if "const" in schema or "enum" in schema:
        return {"enum": schema.get("enum", [schema.get("const")])}
    schema.pop("format", None)
    branches = [branch for branch in schema.pop("anyOf", ()) if branch != NEVER]
    return schema if not branches else _united(branches)


def _united(branches: list[Schema]) -> Schema:
    """Alternatives, as one list of types or of values where they are no more than that: editors then say what is
    expected, such as "integer | null"."""
    if any(not branch for branch in branches):
        return {}
    distinct = [branch for i, branch in enumerate(branches) if branch not in branches[:i]]
    if len(distinct) == 1:
        return distinct[0]
    if all({*branch} == {"type"} for branch in distinct):
        return {"type": [branch["type"] for branch in distinct]}
    values = [[None] if branch == {"type": "null"} else branch.get("enum") for branch in distinct]
    if all(values):
        return {"enum": [value for several in values if several for value in several]}
    return {"anyOf": distinct}


def of_option(option: Option) -> Schema:
    """An option with its description, default and range."""
    schema = unless_reference(of_type(option.type) | _range(option.bounds))
    notes = [option.about, f"Range: {option.bounds}." if option.bounds else ""]
    described: Schema = {"description": text} if (text := " ".join(filter(None, notes))) else {}
    if option.default is not REQUIRED and not isinstance(option.default, Expression):
        described["default"] = [*option.default] if isinstance(option.default, tuple) else option.default
    return described | schema


def _range(bounds: Bounds | None) -> Schema:
    """The keywords for a range, which say nothing about other values than numbers."""
    if bounds is None:
        return {}
    least, most = ("exclusiveMinimum", "exclusiveMaximum") if bounds.is_open else ("minimum", "maximum")
    ends = {least: bounds.least, most: bounds.most}
    return {key: end for key, end in ends.items() if end is not None}


def of_part(part: Part, options: Iterable[Option]) -> Schema:
    """A part with these options, and no others."""
    return {
        "description": f"{part.target}: {part.about}" if part.about else part.target,
        "type": "object",
        "properties": {"_target_": {"const": part.target}} | {option.name: of_option(option) for option in options},
        "additionalProperties": False,
    }


def of_any(names: Iterable[str], definitions: Mapping[str, Schema]) -> Schema:
    """A part whose class is not known: each option that one of these definitions has, as any of them describes it."""
    found: dict[str, list[Schema]] = {}
    places: dict[str, list[str]] = {}
    for name in names:
        for option, schema in definitions[name]["properties"].items():
            if option != "_target_" and schema not in found.setdefault(option, []):
                found[option].append(schema)
                places.setdefault(option, []).append(f"{name}/properties/{option}")
    options = {
        option: ref(place[0]) if len(place) == 1 else {"anyOf": [ref(one) for one in place]}
        for option, place in places.items()
    }
    return {"type": "object", "properties": options, "additionalProperties": False}


def by_target(names: Iterable[str], open_targets: Iterable[str] = ()) -> Schema:
    """A part whose class ``_target_`` names: one of these definitions, or a class of the user's, with any options.

    Args:
        open_targets: further classes of dlzoo, PyTorch and Lightning.
    """
    known = sorted(names)
    return {
        "properties": {
            "_target_": {
                "description": "The class that is built: package.module.Name",
                "type": "string",
                "anyOf": [{"enum": sorted({*known, *open_targets})}, {"pattern": f"^(?!{BUILT_IN[1:]})"}],
            }
        },
        "allOf": [
            {"if": {"properties": {"_target_": {"const": name}}, "required": ["_target_"]}, "then": ref(name)}
            for name in known
        ],
    }


def when_target(then: Schema, otherwise: Schema) -> Schema:
    """Depending on whether a part names its class."""
    return {"if": {"type": "object", "required": ["_target_"]}, "then": then, "else": otherwise}
