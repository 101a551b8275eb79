"""Training forecasters of one or several steps, and forecasting further by feeding outputs back.

Training predicts one step ahead from true values, or several steps at once: the recursive and the direct strategy of
S. Ben Taieb, G. Bontempi, A. F. Atiya, A. Sorjamaa, "A review and comparison of strategies for multi-step ahead time
series forecasting", 2012. Validation and test forecast from an origin, given only the past, and are evaluated in the
units of the data.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NotRequired, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor

from dlzoo.data.base import DataModule
from dlzoo.errors import SpecError, UserError
from dlzoo.layers.recurrent import State
from dlzoo.losses.functional import ValueLossName, pinball, value_link, value_loss
from dlzoo.metrics.forecasting import baselines, errors, interval_metrics
from dlzoo.nets.base import Net, RecurrentNet
from dlzoo.specs.base import Port
from dlzoo.specs.batch import Batch
from dlzoo.specs.inputs import SeriesSpec
from dlzoo.specs.targets import Values
from dlzoo.tasks.columns import columnwise
from dlzoo.tasks.interfaces import Forecasting
from dlzoo.tasks.optimization import OptimizerFactory, SchedulerFactory
from dlzoo.tasks.views import Tensors, View, typical_batch
from dlzoo.utils import extras

log = logging.getLogger(__name__)


class ForecastResult(TypedDict):
    """A forecast from one origin, raw."""

    output: Tensor
    """(H, D)."""
    target: Tensor
    """(H, D), the true values."""
    history: Tensor
    """(N, D), the values before it."""
    quantiles: NotRequired[Tensor]
    """(H, D, Q), in ascending order."""
    baselines: NotRequired[dict[str, Tensor]]
    """In a test: the forecasts (H, D) of simple methods."""


class Forecast(Forecasting):
    """For series.

    Args:
        loss: loss of the next value, after the transform.
        delta: threshold of the Huber loss.
        steps: values that the net predicts at once, each fed back for those after it; None is the data's horizon.
        quantiles: levels of which the net predicts a quantile each, by the pinball loss, such as [0.1, 0.5, 0.9]; the
            median is the forecast. All are forecast at once (``steps`` null), since what is fed back has no quantiles.
    """

    targets = (Values,)
    monitor = ("val/rmse", "min")
    carried_state = ("state",)
    spec: SeriesSpec

    def __init__(
        self,
        net: Net,
        spec: SeriesSpec,
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        loss: ValueLossName = "mse",
        delta: float = 1.0,
        steps: int | None = 1,
        quantiles: Sequence[float] | None = None,
    ) -> None:
        if spec.series is None:
            raise SpecError(f"this task forecasts series, but the data gives {spec.describe()}")
        super().__init__(net, spec, optimizer=optimizer, scheduler=scheduler)
        recurrent = net.as_recurrent()
        self.stateful = recurrent is not None and recurrent.is_stateful
        if self.stateful != spec.consecutive:
            raise SpecError(
                f"net.stateful={self.stateful} needs data.consecutive={self.stateful}: only windows that follow one "
                "another can carry over a state"
            )
        check_steps(spec, steps)
        self.quantiles = check_quantiles(spec, quantiles)
        self.loss_name = loss
        self.criterion = value_loss(loss, delta=delta)
        self.link = value_link(loss)
        self.state: State | None = None

    @property
    def recurrent(self) -> RecurrentNet:
        """The net of a stateful task."""
        net = self.net.as_recurrent()
        assert net is not None
        return net

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # one input and one output
        return columnwise(self.net, x, self.spec) if self.spec.independent else self.net(x)

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        return super().option_uses() | {
            "delta": (self.loss_name == "huber" and not self.quantiles, "task.loss=huber"),
            "loss": (not self.quantiles or self.loss_name == "mse", "task.quantiles=null"),
        }

    def data_option_uses(self) -> dict[str, tuple[bool, str]]:
        needs = "model=anomaly_forecast or anomaly_autoencoder (to leave a column out, name the others in data.values)"
        return super().data_option_uses() | {"marks": (False, needs)}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, target, _ = Batch(*batch)
        if self.stateful:
            output, state = self.recurrent.step(x, self.state)
            self.state = detached(state)
        else:
            output = self(x)
        loss = self.loss_of(output, target)
        self.log_step(len(target), loss=loss)
        return loss

    def loss_of(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean loss of what the net gives, (B, …, D) or (B, S, D, Q), for targets of (B, …, D)."""
        if self.quantiles:
            return pinball(in_order(output).view(*target.shape, -1), target, self.quantiles)
        return self.criterion(output.flatten(0, -2), target.flatten(0, -2)).mean()

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.state = None

    def validation_step(self, batch: Batch, batch_idx: int) -> ForecastResult:
        return self.measure(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> ForecastResult:
        outputs = self.measure(batch, "test")
        spec, history, future = self.spec, outputs["history"], outputs["target"]
        outputs["baselines"] = baselines(history, len(future), spec.period)
        for method, forecast in outputs["baselines"].items():
            metrics = errors(forecast, future, spec.scales)
            self.log_dict({f"baseline/{name}_{method}": value for name, value in metrics.items()}, batch_size=1)
        if not extras.is_installed("statsmodels"):
            log.warning("baseline/…_holt_winters is skipped: it needs statsmodels (pip install 'dlzoo[forecast]')")
        return outputs

    def measure(self, batch: Batch, split: str) -> ForecastResult:
        """The forecast of a batch, which is one origin: history (1, N, D), future (1, H, D), raw."""
        history, future = batch[0][0], batch[1][0]
        metrics = {"loss": self.one_step_loss(history, future)}
        values = history[:, : self.spec.num_columns]
        result: ForecastResult = {"output": torch.empty(0), "target": future, "history": values}
        if self.quantiles:
            result["quantiles"] = self.forecast_quantiles(history, len(future))
            metrics |= interval_metrics(result["quantiles"], future, self.quantiles)
        result["output"] = self.median(result["quantiles"]) if self.quantiles else self.forecast(history, len(future))
        metrics |= errors(result["output"], future, self.spec.scales)
        self.log_dict({f"{split}/{name}": value for name, value in metrics.items()}, batch_size=1)
        return result

    def median(self, quantiles: Tensor) -> Tensor:
        """(…, Q) -> (…), the forecast."""
        return quantiles[..., self.quantiles.index(0.5)]

    @torch.no_grad()
    def forecast_quantiles(self, history: Tensor, horizon: int) -> Tensor:
        if horizon > self.spec.steps:
            raise UserError(f"horizon={horizon}: quantiles are forecast {self.spec.steps} steps ahead, as in training; "
                            "lower it")  # fmt: skip
        spec = self.spec
        known = spec.inputs(history)[None, -spec.window :].to(next(self.parameters()))
        steps = in_order(self(known))[0, :horizon].to(history)  # (H, D, Q)
        return torch.stack([spec.invert(level, history) for level in steps.unbind(-1)], dim=-1)

    @torch.no_grad()
    def forecast(self, history: Tensor, horizon: int) -> Tensor:
        """history: (N, D) raw -> the next values (H, D), raw, autoregressively.

        A stateful net reads the whole history first; others see only its last window.
        """
        if self.quantiles:
            return self.median(self.forecast_quantiles(history, horizon))
        spec = self.spec
        if spec.known and horizon > spec.steps:
            raise UserError(f"horizon={horizon}: columns are known {spec.steps} steps ahead, as in training; lower it")
        known = spec.inputs(history)[None].to(next(self.parameters()))  # (1, N - lost, D + K)
        steps = (
            self.continue_from(known, horizon) if self.stateful else self.feed_back(known[:, -spec.window :], horizon)
        )
        return spec.invert(steps[0].to(history), history)

    def export_views(self) -> Mapping[str, Callable[[], View]]:
        return {"model": lambda: Forecaster(self)}

    def feed_back(self, window: Tensor, horizon: int) -> Tensor:
        """window: (B, W, D) -> the next (B, H, D), as many at once as the net predicts from the window before them."""
        for _ in range(0, horizon, self.spec.steps):
            output = self.link(self(window[:, -self.spec.window :]).flatten(0, -2))
            output = output.view(window.shape[0], self.spec.steps, -1)
            if self.spec.known:  # forecast at once: nothing is fed back
                return output[:, :horizon]
            window = torch.cat([window, output], dim=1)
        return window[:, self.spec.window :][:, :horizon]

    def continue_from(self, known: Tensor, horizon: int) -> Tensor:
        """known: (B, N, D) -> the next (B, H, D), continuing from the state after reading them."""
        outputs, state = self.recurrent.step(known)
        steps = [self.link(outputs[:, -1:])]
        while len(steps) < horizon:
            output, state = self.recurrent.step(steps[-1], state)
            steps.append(self.link(output))
        return torch.cat(steps, dim=1)

    @torch.no_grad()
    def one_step_loss(self, history: Tensor, future: Tensor) -> float:
        """The loss of the net's outputs on the future values, comparable with train/loss."""
        spec, horizon = self.spec, len(future)
        if spec.known:  # nothing follows the future, so it has no known columns of later steps
            future = torch.cat([future, future.new_zeros(horizon, len(spec.known))], dim=1)
        known = spec.inputs(torch.cat([history, future])).to(next(self.parameters()))
        if self.stateful:
            output, true = self.recurrent.step(known[None])[0][0, -horizon - 1 : -1], known[-horizon:]
        else:
            steps = min(spec.steps, horizon)
            windows = known[-horizon - spec.window : len(known) - steps].unfold(0, spec.window, 1).transpose(1, 2)
            shape = (len(windows), spec.steps, *spec.output_shape[1 if spec.steps > 1 else 0 :])
            output = self(windows).view(shape)[:, :steps]
            true = known[-horizon:, : spec.num_columns].unfold(0, steps, 1).transpose(1, 2)
        return float(self.loss_of(output, true))


def check_steps(spec: SeriesSpec, steps: int | None) -> None:
    """`SpecError` if the data's targets are not the ``steps`` of the task."""
    wanted = spec.horizon if steps is None else steps
    if wanted != spec.steps:
        raise SpecError(
            f"task.steps={wanted} needs data.steps={wanted}, but the data give {spec.steps}: set one of them"
        )
    if spec.known and (spec.steps != spec.horizon or spec.consecutive):
        raise SpecError(
            f"data.known_ahead={[*spec.known]} is read for the whole horizon at once: set task.steps=null and "
            "net.stateful=false"
        )
    if spec.consecutive and spec.independent:
        raise SpecError("data.independent=true keeps no state for each column: set net.stateful=false")
    if spec.consecutive and spec.steps > 1:
        raise SpecError(f"net.stateful=true reads value by value, but task.steps={spec.steps}: set it to 1")


def check_quantiles(spec: SeriesSpec, quantiles: Sequence[float] | None) -> tuple[float, ...]:
    """The levels; `UserError` if they are none, or not those of the data, or the steps cannot have intervals."""
    levels = tuple(quantiles or ())
    if levels != spec.quantiles:
        raise SpecError(f"task.quantiles={[*levels]} are not data.quantiles={[*spec.quantiles]}: omit one")
    if not levels:
        return ()
    if any(not 0 < level < 1 for level in levels) or sorted({*levels}) != [*levels] or 0.5 not in levels:
        raise UserError(f"task.quantiles={[*levels]} must ascend between 0 and 1 and contain 0.5, the forecast")
    if spec.steps != spec.horizon or spec.consecutive:
        raise SpecError(f"task.quantiles={[*levels]} are forecast at once: set task.steps=null and net.stateful=false")
    if any(lag < spec.horizon for lag in spec.transform.differences):
        raise SpecError(
            f"quantiles of sums of changes are not sums of their quantiles: data.differences="
            f"{[*spec.transform.differences]} must be lags of at least data.horizon={spec.horizon}, or []"
        )
    return levels


def in_order(outputs: Tensor) -> Tensor:
    """(…, Q) -> quantiles (…, Q) that cannot cross: the first, and positive steps to the others."""
    return torch.cat([outputs[..., :1], F.softplus(outputs[..., 1:])], dim=-1).cumsum(-1)


def detached(state: State) -> State:
    """The state detached from the graph: gradients are truncated at the window's start."""
    return state.detach() if isinstance(state, Tensor) else tuple(part.detach() for part in state)


class Forecaster(View[Forecast]):
    """Exported forecaster: from raw values to the next raw values, feeding outputs back."""

    def __init__(self, task: Forecast) -> None:
        super().__init__(task)
        spec = task.spec
        length: int | str = "length" if task.stateful else spec.num_needed
        known = "all raw values until now" if task.stateful else "the last raw values until now"
        shape = ("batch", length, spec.shape[1])
        if spec.known:
            known += f", and behind them {', '.join(spec.known)} of {spec.steps} steps later"
        self.inputs = (Port("history", "float64", shape, known, least=spec.num_needed),)
        values = ("batch", spec.horizon, spec.num_columns)
        self.outputs = (Port("forecast", "float64", values, "the next raw values"),)
        if task.quantiles:
            levels = ", ".join(f"{level:g}" for level in task.quantiles)
            meaning = f"quantiles of them: {levels}"
            self.outputs += (Port("quantiles", "float64", (*values, len(task.quantiles)), meaning),)

    def real_inputs(self, data: DataModule, num: int) -> Tensors:
        """Histories that end at or shortly before the last known value."""
        history = typical_batch(data)[0][0]
        longest = max(len(history) - num + 1, self.trained.spec.num_needed + 1)
        length = longest if self.trained.stateful else self.trained.spec.num_needed
        return (history.unfold(0, length, 1)[-num:].transpose(1, 2).contiguous(),)

    def forward(self, history: Tensor) -> Tensors:  # type: ignore[override]
        task, spec = self.task, self.trained.spec
        raw = history.transpose(0, 1)  # (N, B, D): the transform works along the first dimension
        known = spec.inputs(raw).float().transpose(0, 1)
        if task.quantiles:
            levels = in_order(task(known[:, -spec.window :])).transpose(0, 1).double().unbind(-1)  # of (H, B, D)
            quantiles = torch.stack([spec.invert(level, raw).transpose(0, 1) for level in levels], dim=-1)
            return task.median(quantiles), quantiles
        if task.stateful:
            steps = task.continue_from(known, spec.horizon)
        else:
            steps = task.feed_back(known[:, -spec.window :], spec.horizon)
        return (spec.invert(steps.transpose(0, 1).double(), raw).transpose(0, 1),)

    def expected(self, history: Tensor) -> Tensors:  # type: ignore[override]
        if self.trained.quantiles:
            quantiles = torch.stack([self.trained.forecast_quantiles(h, self.trained.spec.horizon) for h in history])
            return self.trained.median(quantiles), quantiles
        return (torch.stack([self.trained.predict(one) for one in history]),)
