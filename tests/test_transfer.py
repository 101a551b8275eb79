"""Transfer: what learns, when and how fast; whole runs that make a trained net one's own; features kept."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Outcome
from torch import Tensor, nn

from dlzoo import checkpoint, config, train
from dlzoo.errors import UserError
from dlzoo.specs import Classes, ImageSpec
from dlzoo.tasks.transfer import Features, Finetune, Gradual, Scratch, Transfer

Train = Callable[..., Outcome]
QUICK = (
    "trainer=cpu",
    "callbacks=[progress,history,checkpoint]",
    "logger=none",
    "model=resnet20",
    "data.batch_size=64",
)
WAYS = [Features(), Finetune(), Gradual()]


def small_net(weights: str = "some.pth") -> Any:
    from dlzoo.nets.torchvision_net import TorchvisionNet

    return TorchvisionNet(ImageSpec(1, 8, 8, Classes(("a", "b"))), name="resnet20", weights=weights)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint of a net that knows five digits."""
    folder = tmp_path_factory.mktemp("trained")
    words = [*QUICK, "data.train_per_class=60", "trainer.max_epochs=3", "optimizer.lr=5e-3"]
    train.run(config.compose(words), folder, words)
    return str(folder / "checkpoints" / "last.ckpt")


def the_run(tmp_path: Path) -> Path:
    return max(tmp_path.glob("outputs/*/*/results.json"), key=lambda file: file.stat().st_mtime_ns).parent


def weights(run_dir: Path, name: str = "last") -> dict[str, Tensor]:
    return checkpoint.read(run_dir / "checkpoints" / f"{name}.ckpt")["state_dict"]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: type(way).__name__)
def test_every_parameter_that_ever_learns_is_in_one_group(way: Transfer) -> None:
    net = small_net()
    groups = way.groups(net)
    listed = [p for group in groups for p in group["params"]]
    assert len(listed) == len({*listed})
    wanted = net.head.parameters() if isinstance(way, Features) else net.parameters()
    assert {*listed} == {*wanted}
    assert groups[0]["name"] == "head"
    assert groups[0]["factor"] == 1.0


def test_rates_fall_towards_the_input() -> None:
    groups = Finetune(top=0.5, bottom=0.005).groups(small_net())
    factors = [group["factor"] for group in groups[1:]]
    assert factors[0] == pytest.approx(0.5)
    assert factors[-1] == pytest.approx(0.005)
    ratios = [b / a for a, b in itertools.pairwise(factors)]
    assert ratios == pytest.approx([ratios[0]] * len(ratios))
    assert ratios[0] < 1


def test_stages_thaw_from_the_top() -> None:
    way, num = Gradual(start=0.25, end=0.75), 10
    frozen = [way.num_frozen(num, epoch / 20) for epoch in range(20)]
    assert frozen[:5] == [10] * 5
    assert frozen[5] == 9  # the highest alone
    assert frozen[14] > 0
    assert frozen[15:] == [0] * 5
    assert frozen == sorted(frozen, reverse=True)
    assert Gradual(start=0, end=0).num_frozen(num, 0.0) == 0


@pytest.mark.parametrize(
    ("way", "net", "message"),
    [
        (Features(), nn.Linear(2, 2), "transfer=features is for nets with a backbone.*Linear has none"),
        (Finetune(), "none", "transfer=finetune needs a trained backbone: give net.weights"),
        (Scratch(), "some.pth", r"transfer=scratch starts from fresh weights, but net\.weights=some\.pth"),
    ],
)
def test_what_makes_no_sense_is_refused(way: Transfer, net: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        way.check(small_net(net) if isinstance(net, str) else net)


@pytest.mark.parametrize("options", [{"top": 0.0}, {"bottom": -1.0}])
def test_rates_must_be_positive(options: dict[str, float]) -> None:
    (key,) = options
    with pytest.raises(UserError, match=rf"task\.transfer\.{key}="):
        Finetune(**options)


@pytest.mark.parametrize("way", ["features", "finetune", "gradual"])
def test_a_run_moves_what_it_may(way: str, trained: str, train: Train, tmp_path: Path) -> None:
    """Frozen features keep every tensor of the body, statistics included; the others change all of it."""
    words = (f"transfer={way}", f"net.weights={trained}", "data.train_per_class=20", "trainer.max_epochs=4")
    done = train(*QUICK, *words)
    assert done.code == 0, done.err
    assert "tensors loaded" in done.out
    before, after = checkpoint.read(trained)["state_dict"], weights(the_run(tmp_path))
    body = [name for name in before if name.startswith("net.body.")]
    changed = [name for name in body if not torch.equal(before[name], after[name])]
    assert changed == ([] if way == "features" else body)
    assert not torch.equal(before["net.head.0.weight"], after["net.head.0.weight"])


def test_the_rates_of_a_run_are_those_of_the_stages(trained: str, train: Train, tmp_path: Path) -> None:
    words = (
        "transfer=finetune",
        f"net.weights={trained}",
        "optimizer.lr=0.1",
        "scheduler=cosine",
        "task.transfer.top=0.5",
    )
    assert train(*QUICK, *words, "trainer.max_epochs=1", "trainer.limit_train_batches=1").code == 0
    state = checkpoint.read(the_run(tmp_path) / "checkpoints" / "last.ckpt")["optimizer_states"][0]
    assert [group["initial_lr"] for group in state["param_groups"]][:2] == pytest.approx([0.1, 0.05])
    assert state["param_groups"][-1]["initial_lr"] == pytest.approx(0.003)


def test_kept_features_learn_what_frozen_ones_do(trained: str, train: Train, tmp_path: Path) -> None:
    words = ("transfer=features", f"net.weights={trained}", "data.train_per_class=30", "trainer.max_epochs=3")
    found = []
    for more in ((), ("cache_features=true",)):
        done = train(*QUICK, *words, *more)
        assert done.code == 0, done.err
        found.append((weights(the_run(tmp_path)), json.loads((the_run(tmp_path) / "results.json").read_text())))
    (plain, results), (kept, results_kept) = found
    for name, value in plain.items():
        torch.testing.assert_close(kept[name], value)
    for name, value in results["metrics"].items():
        assert results_kept["metrics"][name] == pytest.approx(value, rel=1e-4), name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("cache_features=true",), "cache_features=true keeps what a frozen backbone gives: take transfer=features"),
        (("cache_features=true", "transfer=features", "augment=shift"), "take augment=none"),
        (("cache_features=maybe",), "cache_features=maybe: this must be true or false"),
    ],
)
def test_features_that_cannot_be_kept(words: tuple[str, ...], message: str, trained: str, train: Train) -> None:
    done = train(*QUICK, f"net.weights={trained}", *words)
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1


def test_a_continued_thawing_equals_one_that_never_stopped(trained: str, train: Train, tmp_path: Path) -> None:
    """What is frozen depends on the epoch alone; with the schedule of the longer run in both."""
    common = (*QUICK, "transfer=gradual", f"net.weights={trained}", "data.train_per_class=10", "optimizer=momentum")
    assert train(*common, "trainer.max_epochs=4").code == 0
    whole = weights(the_run(tmp_path))
    stop = ("+trainer.limit_train_batches=1.0", "trainer.max_epochs=4", "callbacks.checkpoint.every_n_epochs=1")
    assert (
        train(*common, *stop, "callbacks.checkpoint.save_top_k=-1", "callbacks.checkpoint.filename='{epoch}'").code == 0
    )
    second = the_run(tmp_path) / "checkpoints" / "epoch=1.ckpt"
    done = train(f"ckpt='{second}'", "trainer=cpu")
    assert done.code == 0, done.err
    continued = weights(second.parent.parent)
    for name, value in whole.items():
        assert torch.equal(continued[name], value), name


def test_a_transferred_checkpoint_needs_no_other_file(trained: str, train: Train, tmp_path: Path) -> None:
    """It is evaluated and predicts after the file of the weights is gone."""
    file = tmp_path / "source.ckpt"
    file.write_bytes(Path(trained).read_bytes())
    words = ("transfer=features", f"net.weights={file}", "data.train_per_class=10", "trainer.max_epochs=1")
    assert train(*QUICK, *words).code == 0
    file.unlink()
    task, _ = checkpoint.load_task(the_run(tmp_path) / "checkpoints" / "best.ckpt")
    source = checkpoint.read(trained)["state_dict"]
    net: Any = task.net
    assert torch.equal(net.mean, source["net.mean"])
    assert net(torch.rand(1, 1, 8, 8)).shape == (1, 10)


def test_a_continued_run_keeps_the_features_of_its_own_backbone(trained: str, train: Train, tmp_path: Path) -> None:
    """Not those of fresh weights; and the file that the run started from is not needed again."""
    file = tmp_path / "source.ckpt"
    common = (*QUICK, "transfer=features", f"net.weights={file}", "data.train_per_class=30", "optimizer=momentum")
    found = []
    for kept in ("false", "true"):
        file.write_bytes(Path(trained).read_bytes())
        assert train(*common, f"cache_features={kept}", "trainer.max_epochs=2").code == 0
        file.unlink()
        last = the_run(tmp_path) / "checkpoints" / "last.ckpt"
        done = train(f"ckpt='{last}'", "trainer.max_epochs=4")
        assert done.code == 0, done.err
        found.append(weights(last.parent.parent))
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value)
