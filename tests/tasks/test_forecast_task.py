"""Forecasts feed their outputs back, look at nothing behind their origin, and learn from what follows a window."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlzoo.data.series.air_passengers import PASSENGERS, AirPassengers
from dlzoo.errors import SpecError, UserError
from dlzoo.losses.functional import pinball
from dlzoo.metrics.forecasting import interval_metrics
from dlzoo.nets.jordan import Jordan
from dlzoo.nets.nar import NAR
from dlzoo.nets.nbeats import NBEATS
from dlzoo.nets.rnn_forecaster import Forecaster
from dlzoo.nets.tcn import TCN
from dlzoo.specs.inputs import SeriesSpec
from dlzoo.specs.series_transform import Transform
from dlzoo.specs.targets import Values
from dlzoo.tasks.forecast import Forecast, in_order

VALUES = torch.tensor(PASSENGERS, dtype=torch.double)[:, None]
NETS: dict[str, Callable[[SeriesSpec], nn.Module]] = {
    "nar": lambda spec: NAR(spec, skip=True),
    "lstm": lambda spec: Forecaster(spec),
    "gru skip": lambda spec: Forecaster(spec, cell="gru", skip=True),
    "peephole": lambda spec: Forecaster(spec, cell="peephole_lstm", num_layers=2),
    "tcn": lambda spec: TCN(spec, num_filters=4),
    "jordan": lambda spec: Jordan(spec, decay=0.5, skip=True),
    "nbeats": lambda spec: NBEATS(spec, num_units=8),
}
STATEFUL: dict[str, Callable[[SeriesSpec], nn.Module]] = {
    "rnn": lambda spec: Forecaster(spec, cell="rnn", stateful=True),
    "lstm": lambda spec: Forecaster(spec, stateful=True, num_layers=2),
    "peephole": lambda spec: Forecaster(spec, cell="peephole_lstm", stateful=True),
    "jordan": lambda spec: Jordan(spec, decay=0.5, stateful=True),
}


def spec_of(differences: tuple[int, ...] = (), *, consecutive: bool = False, **options: Any) -> SeriesSpec:
    transform = Transform(True, differences).fit(VALUES[:120])
    return SeriesSpec(
        Values(("passengers",)), 6, 5, "month", 12, consecutive=consecutive, transform=transform, **options
    )


def task_of(make: Callable[[SeriesSpec], nn.Module], spec: SeriesSpec) -> Forecast:
    return Forecast(make(spec), spec).eval()


def undo(steps: list[float], history: Tensor, transform: Transform, lag: int) -> list[float]:
    """The values after ``history`` (log, one difference or none) by hand."""
    logs = history[:, 0].log().tolist()
    for step in steps:
        logs.append(step * transform.std[0] + transform.mean[0] + (logs[-lag] if lag else 0))
    return [float(torch.tensor(v, dtype=torch.double).exp()) for v in logs[len(history) :]]


@pytest.mark.parametrize("lag", [0, 1, 12])
@pytest.mark.parametrize("name", NETS)
def test_a_forecast_is_a_hand_loop(name: str, lag: int) -> None:
    spec = spec_of((lag,) if lag else ())
    task = task_of(NETS[name], spec)
    known = spec.transform.apply(VALUES)[:, 0].float().tolist()
    steps: list[float] = []
    with torch.no_grad():
        while len(steps) < 9:
            window = torch.tensor([*known, *steps][-6:])
            steps.append(task.net(window.view(1, 6, 1)).item())
    expected = torch.tensor(undo(steps, VALUES, spec.transform, lag), dtype=torch.double)[:, None]
    torch.testing.assert_close(task.forecast(VALUES, 9), expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("steps", [2, 5, 7])
@pytest.mark.parametrize("name", ["nar", "gru skip", "tcn", "jordan", "nbeats"])
def test_several_steps_at_once_are_fed_back_together(name: str, steps: int) -> None:
    spec = spec_of((12,), steps=steps)
    task = Forecast(NETS[name](spec), spec, steps=steps).eval()
    known = spec.transform.apply(VALUES).float()
    with torch.no_grad():
        while len(known) < 132 + 9:
            known = torch.cat([known, task.net(known[None, -6:])[0]])
    expected = torch.tensor(undo(known[132 : 132 + 9, 0].tolist(), VALUES, spec.transform, 12), dtype=torch.double)
    torch.testing.assert_close(task.forecast(VALUES, 9)[:, 0], expected, rtol=1e-5, atol=1e-3)


LEVELS = (0.1, 0.5, 0.8)


@pytest.mark.parametrize("name", ["nar", "gru skip", "tcn", "jordan", "nbeats"])
def test_quantiles_do_not_cross_and_their_loss_is_the_pinball_loss(name: str) -> None:
    spec = spec_of((12,), steps=5, quantiles=LEVELS)
    task = Forecast(NETS[name](spec), spec, steps=None, quantiles=LEVELS).eval()
    x, y = spec.example(6)
    assert task.net(x).shape == (6, 5, 1, 3)
    task.log_step = lambda *args, **means: None  # type: ignore[method-assign]
    levels = in_order(task.net(x))
    parts = [
        torch.where(y >= q, tau * (y - q), (1 - tau) * (q - y))
        for tau, q in zip(LEVELS, levels.unbind(-1), strict=True)
    ]
    torch.testing.assert_close(task.training_step((x, y), 0), torch.stack(parts).mean())
    quantiles = task.forecast_quantiles(VALUES, 4)
    assert quantiles.shape == (4, 1, 3)
    assert (quantiles.diff(dim=-1) > 0).all()
    assert torch.equal(task.forecast(VALUES, 4), quantiles[..., 1])
    view = task.export_views()["model"]()
    forecast, exported = view(VALUES[None, -spec.num_needed :])
    torch.testing.assert_close(exported[0, :4], quantiles)
    assert torch.equal(forecast, exported[..., 1])
    with pytest.raises(UserError, match="horizon=6: quantiles are forecast 5 steps ahead"):
        task.forecast(VALUES, 6)


def test_the_quantiles_of_one_step_are_those_of_their_own_rows() -> None:
    """A net gives (B, D, Q) for one step, whose targets (B, D) must not be broadcast against other rows."""
    spec = dataclasses.replace(spec_of((), steps=1, quantiles=LEVELS), horizon=1)
    task = Forecast(NETS["nar"](spec), spec, steps=None, quantiles=LEVELS).eval()
    x, y = spec.example(6)
    output = task.net(x)
    each = torch.stack([task.loss_of(output[i : i + 1], y[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(task.loss_of(output, y), each.mean())
    with pytest.raises(ValueError, match=r"quantiles are \(6, 3\), but must be \(6, 1, 3\)"):
        pinball(output.reshape(6, 3), y.reshape(6, 1), LEVELS)


def test_coverage_and_width_of_an_interval() -> None:
    quantiles = torch.tensor([[[0.0, 1.0, 3.0]], [[0.0, 1.0, 3.0]]])
    metrics = interval_metrics(quantiles, torch.tensor([[3.0], [4.0]]), LEVELS)
    assert (metrics["coverage"], metrics["interval_width"]) == (0.5, 3.0)


@pytest.mark.parametrize(
    ("levels", "lags", "steps", "message"),
    [
        ((0.1, 0.9), (12,), 5, r"must ascend between 0 and 1 and contain 0\.5"),
        ((0.9, 0.5), (12,), 5, "must ascend"),
        ((0.5, 1.0), (12,), 5, "must ascend"),
        ((0.1, 0.5), (1,), 5, r"data\.differences=\[1\] must be lags of at least data\.horizon=5"),
        ((0.1, 0.5), (12,), 1, r"set task\.steps=null"),
    ],
)
def test_quantiles_that_cannot_be(levels: tuple[float, ...], lags: tuple[int, ...], steps: int, message: str) -> None:
    spec = spec_of(lags, steps=steps, quantiles=levels)
    with pytest.raises(UserError, match=message):
        Forecast(NAR(spec), spec, steps=steps, quantiles=levels)
    with pytest.raises(SpecError, match=r"are not data\.quantiles"):
        Forecast(NAR(spec), spec, steps=steps, quantiles=None)


def test_the_targets_of_several_steps_follow_the_window() -> None:
    train = AirPassengers(window=12, steps=3, differences=[], standardize=False).arrays("train")
    assert train.x.shape == (120 - 14, 12, 1)
    assert train.y[-1].flatten().tolist() == [*PASSENGERS[117:120]]
    assert train.x[-1].flatten().tolist() == [*PASSENGERS[105:117]]


def test_forecasts_from_several_origins_follow_training_and_validation() -> None:
    data = AirPassengers(window=12, origins=3, horizon=6, standardize=False, differences=[])
    batches = [*data.test_dataloader()]
    assert [len(x[0]) for x, _, _ in batches] == [126, 132, 138]
    assert torch.cat([y[0] for _, y, _ in batches]).flatten().tolist() == [*PASSENGERS[126:]]
    assert data.arrays("val").y.flatten().tolist() == [*PASSENGERS[120:126]]
    assert data.arrays("train").y[-1].item() == PASSENGERS[119]
    assert len(data.test_ids()) == 18


@pytest.mark.parametrize("name", STATEFUL)
def test_a_stateful_forecast_reads_the_history_and_then_itself(name: str) -> None:
    spec = spec_of((12,), consecutive=True)
    task = task_of(STATEFUL[name], spec)
    known = spec.transform.apply(VALUES).float()
    with torch.no_grad():
        for _ in range(4):  # each time from the start: no state is needed
            known = torch.cat([known, task.net.step(known[None])[0][0, -1:]])
    expected = undo(known[-4:, 0].tolist(), VALUES, spec.transform, 12)
    torch.testing.assert_close(task.forecast(VALUES, 4)[:, 0].tolist(), expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("name", NETS)
def test_only_the_last_window_and_its_differences_matter(name: str) -> None:
    spec = spec_of((12,))
    task = task_of(NETS[name], spec)
    assert spec.num_needed == 18
    torch.testing.assert_close(task.forecast(VALUES[-18:], 5), task.forecast(VALUES, 5))


def test_values_after_the_origin_change_nothing() -> None:
    spec = spec_of((1,))
    task = task_of(NETS["nar"], spec)
    data = AirPassengers(window=6, horizon=12, differences=[1])
    history, future = data.arrays("test")[:2]
    told = task.measure((history, future), "test") if False else task.forecast(history[0], 12)
    other = future * 5 + 1
    assert torch.equal(told, task.forecast(torch.cat([history[0], other[0]])[:132], 12))


@pytest.mark.parametrize("name", [*NETS])
def test_every_net_takes_known_columns(name: str) -> None:
    spec = spec_of((12,), steps=5, known=("a", "b"))
    task = Forecast(NETS[name](spec), spec, steps=None).eval()
    rows = torch.cat([VALUES, torch.rand(len(VALUES), 2, dtype=torch.double)], dim=1)
    forecast, changed = task.forecast(rows, 5), rows.clone()
    changed[-1, 2] += 1
    assert not torch.equal(task.forecast(changed, 5), forecast)
    view = task.export_views()["model"]()
    torch.testing.assert_close(view(rows[None, -spec.num_needed :])[0][0], forecast)


# Learning


@pytest.mark.parametrize("name", STATEFUL)
def test_a_state_carried_over_is_one_long_pass(name: str) -> None:
    """What the task trains on, window after window, are the outputs of the net on the whole."""
    data = AirPassengers(window=7, differences=[], consecutive=True, batch_size=1)
    data.setup("fit")
    batches = list(data.train_dataloader())
    task = task_of(STATEFUL[name], data.spec)
    seen: list[Tensor] = []
    steps = task.net.step
    task.net.step = lambda x, state=None: seen.append(steps(x, state)[0]) or steps(x, state)  # type: ignore[assignment]
    task.log_step = lambda *args, **means: None  # type: ignore[method-assign]
    for i, batch in enumerate(batches):
        task.training_step(batch, i)
    whole = torch.cat([x for x, _, _ in batches], dim=1)
    torch.testing.assert_close(torch.cat(seen, dim=1), steps(whole)[0])
    assert not any(part.requires_grad for part in ([task.state] if isinstance(task.state, Tensor) else task.state))
    task.on_train_epoch_start()
    assert task.state is None


@pytest.mark.parametrize("name", [*NETS, "stateful"])
def test_the_loss_of_a_batch_is_the_mean_over_what_follows(name: str) -> None:
    stateful = name == "stateful"
    spec = spec_of(consecutive=stateful)
    task = task_of(STATEFUL["lstm"] if stateful else NETS[name], spec)
    task.log_step = lambda *args, **means: None  # type: ignore[method-assign]
    x, y = spec.example(8)
    output = task.net.step(x)[0] if stateful else task.net(x)
    assert output.shape == y.shape
    torch.testing.assert_close(task.training_step((x, y), 0), (output - y).square().mean())


@pytest.mark.parametrize("stateful", [False, True])
def test_the_one_step_loss_knows_the_true_values_before(stateful: bool) -> None:
    spec = spec_of((12,), consecutive=stateful)
    task = task_of(STATEFUL["rnn"] if stateful else NETS["nar"], spec)
    known = spec.transform.apply(VALUES).float()
    with torch.no_grad():
        if stateful:
            said = torch.cat([task.net.step(known[None, :-i])[0][0, -1:] for i in range(5, 0, -1)])
        else:
            said = torch.cat([task.net(known[None, -6 - i : -i]) for i in range(5, 0, -1)])
    expected = (said - known[-5:]).square().mean().item()
    assert task.one_step_loss(VALUES[:-5], VALUES[-5:]) == pytest.approx(expected, rel=1e-5)


def test_what_does_not_fit_is_refused() -> None:
    spec = spec_of()
    with pytest.raises(SpecError, match=r"net\.bidirectional=true would read the future"):
        Forecaster(spec, bidirectional=True)
    with pytest.raises(SpecError, match=r"net\.skip=true maps a whole window, but net\.stateful=true"):
        Forecaster(spec, stateful=True, skip=True)
    with pytest.raises(SpecError, match=r"net\.stateful=True needs data\.consecutive=True"):
        Forecast(Forecaster(spec, stateful=True), spec)
    with pytest.raises(SpecError, match=r"task\.steps=5 needs data\.steps=5, but the data give 1"):
        Forecast(NAR(spec), spec, steps=None)
    with pytest.raises(SpecError, match=r"net\.stateful=False needs data\.consecutive=False"):
        Forecast(NAR(spec), dataclasses.replace(spec, consecutive=True))
