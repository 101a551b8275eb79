"""The counting RNN: back-propagation through time by hand, and gradients that vanish, explode and are clipped."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_runs import Outcome

from dlzoo.callbacks.gradient_flow import gradient_sizes
from dlzoo.checkpoint.load import load_task
from dlzoo.data.sequences.counting import Counting
from dlzoo.errors import SpecError, UserError
from dlzoo.nets.counting_rnn import CountingRNN
from dlzoo.specs.inputs import SequenceSpec
from dlzoo.specs.targets import Classes, Values
from dlzoo.training import results

SPEC = SequenceSpec(10, 1, Values(("ones",)))


def net_with(w: float, u: float, length: int = 10) -> CountingRNN:
    net = CountingRNN(SequenceSpec(length, 1, Values(("ones",))))
    torch.nn.init.constant_(net.recurrent, w)
    torch.nn.init.constant_(net.input, u)
    return net


def bits(num: int, length: int) -> torch.Tensor:
    return torch.randint(2, (num, length, 1), generator=torch.Generator().manual_seed(0)).float()


def test_it_counts_with_both_weights_one() -> None:
    x = bits(20, 10)
    assert torch.equal(net_with(1, 1)(x), x.sum(1))


def test_autograd_is_back_propagation_through_time() -> None:
    """dL/dW = sum over t of dL/ds_t s_{t-1}, dL/dU = sum over t of dL/ds_t x_t, dL/ds_t = W dL/ds_{t+1}."""
    net, x = net_with(0.9, 1.2).double(), bits(7, 6).double()
    w, u, target = net.recurrent.item(), net.input.item(), x.sum(1)
    (net(x) - target).square().mean().backward()
    states = [torch.zeros(7, dtype=torch.double)]
    for t in range(6):
        states.append(w * states[-1] + u * x[:, t, 0])
    error = 2 * (states[-1] - target[:, 0]) / 7
    dw = du = torch.tensor(0.0, dtype=torch.double)
    for t in range(6, 0, -1):
        dw = dw + (error * states[t - 1]).sum()
        du = du + (error * x[:, t - 1, 0]).sum()
        error = w * error
    torch.testing.assert_close(net.recurrent.grad, dw)
    torch.testing.assert_close(net.input.grad, du)


@pytest.mark.parametrize("weight", [0.8, 1.0, 1.25])
def test_the_gradient_goes_with_the_power_of_w(weight: float) -> None:
    x = bits(30, 40)
    net = net_with(0.5, 0.7, 40)
    sizes = gradient_sizes(net, x, x.sum(1) + 1, weight)
    for earlier, later in itertools.pairwise(sizes):
        assert earlier / later == pytest.approx(weight, rel=1e-4)
    assert (sizes[0] < sizes[-1]) == (weight < 1)
    assert net.recurrent.item() == 0.5  # the net itself stays as it is


def test_sequences_and_their_counts() -> None:
    data = Counting(length=12, num_samples=100)
    train, test = data.arrays("train"), data.arrays("test")
    assert (train.num_rows, data.arrays("val").num_rows, test.num_rows) == (90, 10, 25)
    assert train.x.shape[1:] == (12, 1)
    assert set(train.x.unique().tolist()) == {0, 1}
    assert torch.equal(train.y, train.x.sum(1))
    assert not torch.equal(train.x[:10], test.x[:10])
    assert torch.equal(Counting(length=12, num_samples=100, seed=5).load("train").x, data.load("train").x)


@pytest.mark.parametrize("spec", [SequenceSpec(5, 2, Values(("y",))), SequenceSpec(5, 1, Classes(("a", "b")))])
def test_other_sequences_are_refused(spec: SequenceSpec) -> None:
    with pytest.raises(SpecError, match="reads one value a step and predicts one value"):
        CountingRNN(spec)


def test_sizes_that_are_too_small() -> None:
    with pytest.raises(UserError, match=r"data\.length=0"):
        Counting(length=0)
    with pytest.raises(UserError, match=r"data\.num_samples=1"):
        Counting(num_samples=1)


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[], Path]:
    return lambda: next(tmp_path.glob("outputs/*/*"))


def test_ten_bits_bring_both_weights_to_one(train: Callable[..., Outcome], folder: Callable[[], Path]) -> None:
    done = train("experiment=counting_rnn")
    assert done.code == 0, done.err
    net = load_task(folder() / "checkpoints" / "best.ckpt")[0].net
    assert net.recurrent.item() == pytest.approx(1, abs=0.01)  # type: ignore[union-attr,operator]
    assert net.input.item() == pytest.approx(1, abs=0.03)  # type: ignore[union-attr,operator]
    for name in ("gradient_norms.png", "gradient_flow.png"):
        assert (folder() / name).stat().st_size > 5_000


def test_forty_bits_explode_and_clipping_cures_it(train: Callable[..., Outcome], folder: Callable[[], Path]) -> None:
    words = ["experiment=counting_rnn_40", "callbacks=[checkpoint,gradient_norms]", "logger=none"]
    cured = train(*words, "trainer.max_epochs=20")
    assert cured.code == 0, cured.err
    reached = results.read(folder())["metrics"]["test/rmse"]
    assert reached < 4  # the bits' own spread is 3.2, and the mean 20
    plain = train(*words, "trainer.gradient_clip_val=null", "hydra.run.dir=" + str(folder().parent / "plain"))
    assert plain.code == 1
    assert "the loss is inf; first in the output of net (CountingRNN)" in plain.err
    assert (folder().parent / "plain" / "gradient_norms.png").stat().st_size > 5_000
