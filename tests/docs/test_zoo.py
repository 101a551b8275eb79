"""The texts of the zoo: every model has a page, what they name exists, and every command in them composes."""

from __future__ import annotations

import re
from pathlib import Path

import command_lines
import pytest

from dlzoo.config import groups
from dlzoo.config.introspection import locate
from dlzoo.errors import UserError
from scripts.docs import systems
from scripts.docs.specs import named_specs
from scripts.docs.systems import PICTURES

PAGES = systems.pages()
MAX_BYTES = 60_000
MAX_TOTAL = 4_000_000


def test_pages_have_names_of_their_own() -> None:
    names = [page.name for page in PAGES]
    assert len({*names, "index"}) == len(names) + 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_exists(page: systems.System) -> None:
    assert page.spec in named_specs()
    for name in page.code:
        owner, _, attribute = name.rpartition(".")
        if owner.rpartition(".")[2][:1].isupper():
            assert attribute in dir(locate(owner, "code"))
        else:
            locate(name, "code")
    for line in page.commands():
        command_lines.check(line)
    if page.pictures is not None:
        command_lines.check(page.pictures.command)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_says_where_the_checkpoints_of_its_exercises_come_from(page: systems.System) -> None:
    lines = "\n".join(page.commands())
    for folder in re.findall(r"ckpt=(outputs/\w+)/", lines):
        assert f"hydra.run.dir={folder}" in lines


def test_pictures_are_small() -> None:
    sizes = {path: path.stat().st_size for path in PICTURES.rglob("*.*") if path.suffix in (".webp", ".png", ".gif")}
    assert max(sizes.values(), default=0) <= MAX_BYTES
    assert sum(sizes.values()) <= MAX_TOTAL


def test_a_misspelt_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("title: A\nplace: 1\nabout: a\nsystems:\n  - {name: x, ideas: y}\n")
    with pytest.raises(UserError, match=r"a\.yaml: ideas: there is no such key; did you mean 'idea'"):
        systems.families(tmp_path)


@pytest.mark.parametrize(
    "line", ["dlzoo train model=lennet", "dlzoo predict ckpt=a inputs=b", "pip install 'dlzoo[nothing]'", "nonsense"]
)
def test_a_command_that_means_nothing_is_found(line: str) -> None:
    with pytest.raises((UserError, AssertionError)):
        command_lines.check(line)


def test_every_model_has_one_page() -> None:
    named = [model for page in PAGES for model in page.models]
    assert sorted(named) == groups.names()["model"]


def test_every_experiment_stands_on_a_page() -> None:
    named = {name for page in PAGES for name in page.experiments}
    assert sorted(named) == groups.names()["experiment"]
