"""What tasks require of a net, and how a net without it is rejected before any data are read."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import Outcome
from torch import Tensor

import dlzoo.nets
import dlzoo.tasks
from dlzoo.errors import UserError
from dlzoo.nets.base import (
    AdversarialPair,
    BackboneNet,
    EncoderDecoder,
    GaussianEncoderDecoder,
    LayeredEncoderDecoder,
    Net,
    RecurrentNet,
    ScalarRecurrentNet,
    TransducerNet,
    WindowNet,
    missing_members,
)
from dlzoo.nets.char_rnn import CharRNN
from dlzoo.nets.conv_autoencoder import ConvAutoencoder
from dlzoo.nets.mlp import MLP
from dlzoo.nets.text_cnn import TextCNN
from dlzoo.specs.inputs import ImageSpec, TextSpec
from dlzoo.specs.targets import Classes, NextTokens
from dlzoo.specs.tokenizer import SPECIAL, Tokenizer
from dlzoo.tasks.base import Task


def classes_of(package: Any, base: type) -> list[Any]:
    """The subclasses that the modules of a package define, excluding the base itself."""
    modules = [importlib.import_module(m.name) for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    return [
        cls
        for module in modules
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if cls.__module__ == module.__name__ and issubclass(cls, base) and cls is not base
    ]


def test_every_net_declares_its_specs_and_implements_its_base_class() -> None:
    nets = [cls for cls in classes_of(dlzoo.nets, Net) if cls.__module__ not in ("dlzoo.nets.base",)]
    assert {MLP, TextCNN, ConvAutoencoder, CharRNN} <= {*nets}
    for cls in nets:
        assert cls.accepts, cls
        promised = [name for name, value in inspect.getmembers(cls) if getattr(value, "__isabstractmethod__", False)]
        assert not promised, cls


@pytest.mark.parametrize("cls", classes_of(dlzoo.tasks, Task))
def test_every_task_declares_its_net_type(cls: type[Task]) -> None:
    assert issubclass(cls.net_type, Net)


KINDS: dict[type[Net], set[str]] = {
    Net: set(),
    BackboneNet: {"freeze", "features", "stages", "weights"},
    RecurrentNet: {"step"},
    WindowNet: {"step", "decode", "start", "context"},
    TransducerNet: {"encode", "decode"},
    ScalarRecurrentNet: {"states", "recurrent"},
    EncoderDecoder: {"encode", "decode"},
    LayeredEncoderDecoder: {"encode", "decode", "encoder", "decoder"},
    GaussianEncoderDecoder: {"encode", "decode", "latent_dim"},
    AdversarialPair: {"generate", "discriminate", "generator", "discriminator", "latent_dim"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_required_members_of_each_kind_of_net(kind: type[Net]) -> None:
    assert {*missing_members(Net(), kind)} == KINDS[kind]
    assert {*missing_members(kind(), kind)} == KINDS[kind], "to derive from the class is not to have its methods"
    grey = ImageSpec(1, 8, 8, Classes(("a", "b")))
    assert missing_members(ConvAutoencoder(grey), EncoderDecoder) == []


CONTRACT = """
import torch
from dlzoo.nets.base import EncoderDecoder, Net
from dlzoo.specs.inputs import ImageSpec

class Half(EncoderDecoder):
    accepts = (ImageSpec,)
    def __init__(self, spec):
        super().__init__()
        self.layer = torch.nn.Linear(spec.num_features, 4)
    def encode(self, x):
        return self.layer(x.flatten(1))

class Plain(torch.nn.Module):
    accepts = (ImageSpec,)
    def __init__(self, spec):
        super().__init__()

class Silent(Net):
    def __init__(self, spec):
        super().__init__()
"""


@pytest.fixture
def own_nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "own_nets.py").write_text(CONTRACT)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own_nets", None)


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (["model=autoencoder", "net._target_=own_nets.Half"], "own_nets.Half lacks decode, which"),
        (["model=vae", "net._target_=own_nets.Half"], "lacks decode, latent_dim, which task._target_=dlz"),
        (["model=perceptron", "net._target_=dlzoo.nets.mlp.MLP"], "dlzoo.nets.mlp.MLP lacks linear, which"),
        (
            ["model=gan", "net._target_=dlzoo.nets.mlp.MLP"],
            "lacks generate, discriminate, generator, discriminator, la",
        ),
        (
            ["model=mlp", "net._target_=own_nets.Plain"],
            "own_nets.Plain is not allowed: it is not a subclass of dlzoo.nets.b",
        ),
        (
            ["model=mlp", "net._target_=own_nets.Silent"],
            "does not declare which data it accepts: give",
        ),
    ],
)
def test_a_net_with_missing_members_is_rejected(
    words: list[str], output: str, own_nets: None, train: Callable[..., Outcome]
) -> None:
    done = train(*words, "data=digits", "logger=none")
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert output in done.err


@pytest.mark.parametrize("cls", ["dlzoo.nets.text_cnn.TextCNN", "dlzoo.nets.rnn_classifier.RNNClassifier"])
def test_given_vectors_are_loaded(cls: str, tmp_path: Path) -> None:
    """TextCNN used to ignore them: it lacked the method that training calls."""
    (tmp_path / "vectors.txt").write_text("good 1 2\nbad 3 4\n")
    spec = TextSpec(Classes(("a", "b")), vocabulary=(*SPECIAL, "good", "bad"))
    module, _, name = cls.rpartition(".")
    net = getattr(importlib.import_module(module), name)(spec, embedding=2, vectors=str(tmp_path / "vectors.txt"))
    (line,) = net.load_pretrained()
    assert "2" in line
    torch.testing.assert_close(net.embedding.table.weight[-1].detach(), torch.tensor([3.0, 4.0]))


def test_a_recurrent_net_continues_from_its_state() -> None:
    net = CharRNN(TextSpec(NextTokens(5), Tokenizer("char"), vocabulary=(*SPECIAL, *"abc")), num_units=4, embedding=3)
    x = torch.tensor([[2, 3, 4, 2]])
    whole: Tensor = net.eval()(x)
    first, state = net.step(x[:, :2])
    torch.testing.assert_close(torch.cat([first, net.step(x[:, 2:], state)[0]], 1), whole)
    assert net.as_recurrent() is net
    assert net.as_backbone() is None


def test_a_checkpoint_of_a_net_with_missing_members_is_rejected(own_nets: None) -> None:
    from dlzoo.config.instantiate import build_net

    cfg = {"net": {"_target_": "own_nets.Half"}, "task": {"_target_": "dlzoo.tasks.autoencoder.Autoencoding"}}
    with pytest.raises(UserError, match=r"own_nets\.Half lacks decode"):
        build_net(cfg["net"], cfg["task"], ImageSpec(1, 8, 8, Classes(("a", "b"))))
