"""Options are read from sources as the imported classes have them: types, defaults, ranges, what docstrings say."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from schema_lists import in_any_order
from test_early_checks import targets

from dlzoo.config import json_schema, options
from dlzoo.config.allowlist import Trust, is_built_in
from dlzoo.config.bounds import Bounds
from dlzoo.config.introspection import arguments, locate
from dlzoo.config.options import REQUIRED, Expression
from dlzoo.config.schema import RUNTIME_ARGUMENTS
from dlzoo.config.schema_files import Schemas
from dlzoo.config.source_types import UNKNOWN

RUNTIME = {name for names in RUNTIME_ARGUMENTS.values() for name in names}


def test_a_source_has_the_types_and_defaults_of_the_class() -> None:
    """Each pair of types has the same schema; a type that the class does not know may be known from the source."""
    for target in filter(is_built_in, targets()):
        located = locate(target, "x")
        part = options.from_source(target)
        assert part is not None, target
        hints = arguments(located)
        parameters = {}
        for owner in reversed(inspect.getmro(located) if isinstance(located, type) else (located,)):
            function = vars(owner).get("__init__") if isinstance(owner, type) else owner
            parameters |= dict(inspect.signature(function).parameters) if inspect.isfunction(function) else {}
        for option in part.options:
            place = f"{target}.{option.name}"
            known = {} if option.name in RUNTIME else json_schema.of_type(hints[option.name])
            if known:
                assert in_any_order(json_schema.of_type(option.type)) == in_any_order(known), place
            assert option.type is not UNKNOWN or not target.startswith("dlzoo."), place
            default = parameters[option.name].default
            if not isinstance(option.default, Expression):
                assert option.default is default or option.default == default, place


def test_ranges_and_descriptions() -> None:
    data = {option.name: option for option in options.from_source("dlzoo.data.images.published.MNIST").options}  # type: ignore[union-attr]
    assert data["batch_size"].bounds == Bounds(1)
    assert data["val_fraction"].bounds == Bounds(0, 1, is_open=True)
    assert data["seed"].bounds == Bounds(0, 2**32 - 1)
    assert data["data_dir"].about.startswith("the folder of all data sets")
    trainer = {option.name: option for option in options.from_source("lightning.pytorch.Trainer").options}  # type: ignore[union-attr]
    assert str(trainer["max_epochs"].bounds) == "-1 or more"
    assert str(trainer["limit_train_batches"].bounds) == "above 0"
    lbfgs = {option.name: option for option in options.from_source("torch.optim.LBFGS").options}  # type: ignore[union-attr]
    assert lbfgs["max_iter"].bounds == Bounds(1), "the range that a run checks is listed"
    adam = {option.name: option for option in options.from_source("torch.optim.Adam").options}  # type: ignore[union-attr]
    assert adam["lr"].about.startswith("learning rate")
    assert adam["foreach"].about.startswith("whether foreach"), "a text that the docstring inserts"


def test_every_option_of_dlzoo_is_described() -> None:
    """In the docstring of its class, of a base class, or of the type that the annotation names."""
    undescribed = [
        f"{target}.{option.name}"
        for node, found in Schemas().targets.items()
        for target, part in found.items()
        for option in options.in_node(part, node.partition(".")[0], is_nested="." in node)
        if target.startswith("dlzoo.") and not option.about
    ]
    assert undescribed == []


def test_a_trusted_class_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trusted_here.py").write_text(
        "class Net:\n"
        '    """A net of mine. It learns.\n\n    Args:\n        width: of each layer.\n    """\n'
        "    def __init__(self, spec, width: int = 8, seed: int = 0): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert options.read("trusted_here.Net") is None, "without trust nothing is imported"
    part = options.read("trusted_here.Net", Trust(("trusted_here",)))
    assert part is not None
    assert part.about == "A net of mine."
    spec, width, seed = part.options
    assert (spec.default, width.type, width.default, width.about) == (REQUIRED, int, 8, "of each layer.")
    assert seed.bounds == Bounds(0, 2**32 - 1)
