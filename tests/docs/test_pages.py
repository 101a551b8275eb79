"""The generated pages say what the code, the configs and the stored results say."""

from __future__ import annotations

import pytest

from dlzoo.__main__ import COMMANDS
from dlzoo.config import groups
from dlzoo.utils import extras
from scripts.docs import figures, reference, systems, zoo_pages

LENET = next(system for system in systems.pages() if system.name == "lenet")


def test_a_page_holds_all_that_belongs_to_a_system() -> None:
    page = zoo_pages.page(LENET)
    for part in (
        "# LeNet-5", "<math", "dlzoo train experiment=lenet_mnist", "61,706 parameters", "<svg", "class LeNet(Net):",
        "`test/accuracy`", "99.23% [99.17%, 99.28%]", "Gradient-Based Learning", "`net.pool`", "## Exercises",
    ):  # fmt: skip
        assert part in page, part


def test_the_rival_that_beats_a_model_is_named() -> None:
    (row,) = figures.table(["text_cnn_imdb"])[2:]
    assert "**ngrams 90.53%**" in row
    assert figures.table(["vgg_cifar10"]) == []


def test_a_claim_is_that_of_the_experiment_it_varies() -> None:
    assert figures.claims_of("cnn_batchnorm_mnist") == figures.claims_of("cnn_mnist") != []


def test_every_command_and_every_name_of_a_group_is_in_the_reference() -> None:
    pages = reference.pages()
    assert not [name for name in COMMANDS if f"## dlzoo {name}\n" not in pages["commands"]]
    missing = [name for names in groups.names().values() for name in names if f"| `{name}` |" not in pages["configs"]]
    assert not missing
    assert "| `net.dropout` | `0.0` |" in pages["configs"]


def test_a_docstring_keeps_its_characters_in_markdown() -> None:
    assert zoo_pages.as_markdown("a*b ``c_d`` <e>") == r"a\*b `c_d` \<e>"


@pytest.mark.slow
@pytest.mark.skipif(not extras.is_installed("zensical"), reason="needs the extra docs")
def test_the_site_builds_without_a_broken_link() -> None:
    from scripts.docs import assembly

    assembly.build()
    assert (assembly.SITE / "zoo" / "lenet" / "index.html").is_file()
