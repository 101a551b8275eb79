"""Anomalies in series: steps that a net trained on normal ones forecasts or reconstructs badly.

V. Chandola, A. Banerjee, V. Kumar, "Anomaly detection: a survey", 2009; by forecasts: P. Malhotra, L. Vig, G. Shroff,
P. Agarwal, "Long Short Term Memory Networks for Anomaly Detection in Time Series", ESANN 2015. The error of a step is
the mean over the columns of the squared difference between the true value and the net's, both standardised, given the
window that ends before it (forecast) or with it (reconstruction). A step is an anomaly if its error exceeds a
quantile of the errors in validation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NotRequired, TypedDict

import torch
from torch import Tensor

from dlzoo.data.base import DataModule
from dlzoo.errors import SpecError, UserError, between
from dlzoo.metrics.anomalies import detection_metrics
from dlzoo.nets.base import Net
from dlzoo.specs.base import Port, Target
from dlzoo.specs.batch import Batch
from dlzoo.specs.inputs import SeriesSpec
from dlzoo.specs.targets import Values
from dlzoo.tasks.columns import columnwise
from dlzoo.tasks.interfaces import Detecting
from dlzoo.tasks.optimization import OptimizerFactory, SchedulerFactory
from dlzoo.tasks.views import Tensors, View, typical_batch


class DetectionResult(TypedDict):
    """The steps after one origin of a test."""

    target: Tensor
    """(H, D) raw values."""
    error: Tensor
    """(H,)"""
    history: Tensor
    """(N, D), the raw values before."""
    marks: NotRequired[Tensor]
    """(H,) bool, the true anomalies, where the data have marks."""


class AnomalyDetection(Detecting):
    """For series. An autoencoder reconstructs the last step of each window, other nets forecast the next one.

    Args:
        quantile: of the validation errors, above which a step is an anomaly.
    """

    targets: tuple[type[Target], ...] = (Values,)  # type: ignore[misc]
    monitor = ("val/loss", "min")
    spec: SeriesSpec

    def __init__(
        self,
        net: Net,
        spec: SeriesSpec,
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        quantile: float = 0.995,
    ) -> None:
        if spec.series is None:
            raise SpecError(f"this task finds anomalies in series, but the data gives {spec.describe()}")
        super().__init__(net, spec, optimizer=optimizer, scheduler=scheduler)
        between(0, 1, "task", quantile=quantile, exclusive=True)
        self.reconstructs = net.as_encoder_decoder() is not None
        if spec.known:
            raise SpecError(f"data.known_ahead={[*spec.known]} is for forecasts alone: use data.values")
        if spec.steps > 1 or spec.consecutive:
            raise SpecError("anomalies are found step by step: set task.steps=1 and net.stateful=false")
        self.quantile = quantile
        self.register_buffer("_threshold", torch.tensor(torch.nan))
        self.tested: list[DetectionResult] = []

    @property
    def threshold(self) -> float:
        return float(self._threshold)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # one input and one output
        return columnwise(self.net, x, self.spec) if self.spec.independent else self.net(x)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, target, _ = Batch(*batch)
        loss = (self(x) - (x if self.reconstructs else target)).square().mean()
        self.log_step(len(x), loss=loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        error, _ = self.measure(batch)
        self._threshold.fill_(float(error.quantile(self.quantile)))  # type: ignore[operator]
        self.log_dict({"val/loss": error.mean(), "val/threshold": self.threshold}, batch_size=1)

    def test_step(self, batch: Batch, batch_idx: int) -> DetectionResult:
        error, marks = self.measure(batch)
        if not self.threshold > 0:
            raise UserError("the threshold is a quantile of validation errors, but there was no validation: train with "
                            "trainer.limit_val_batches above 0")  # fmt: skip
        result: DetectionResult = {"target": batch[1][0], "error": error, "history": batch[0][0]}
        if marks is not None:
            result["marks"] = marks
        self.tested.append(result)
        return result

    def log_split(self, split: str) -> None:
        """The metrics of all origins of a test together."""
        results, self.tested = self.tested, []
        if not results:
            return
        error = torch.cat([result["error"] for result in results])
        metrics = {"loss": float(error.mean()), "anomalies": float((error > self.threshold).double().mean())}
        if all("marks" in result for result in results):
            marks = torch.cat([result["marks"] for result in results])
            metrics |= detection_metrics(error, marks, self.threshold)
        self.log_dict({f"{split}/{name}": value for name, value in metrics.items()}, batch_size=1)

    def measure(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """The errors (H,) of the steps after an origin, and their marks, of a batch (1, N, D), (1, H, D), (1, H)."""
        history, future, marks = Batch(*batch)
        needed = history[0, -self.spec.num_needed :]
        errors = self.step_errors(torch.cat([needed, future[0]]))
        return errors.double().cpu(), None if marks is None else marks[0].bool().cpu()

    @torch.no_grad()
    def step_errors(self, values: Tensor) -> Tensor:
        """values: (N, D) raw -> (N - num_needed,), the errors of the last ones."""
        steps = self.spec.transform.apply(values).to(next(self.parameters()))
        windows = steps.unfold(0, self.spec.window, 1).transpose(1, 2)
        return self.errors_of(windows, steps[self.spec.window :])

    def errors_of(self, windows: Tensor, after: Tensor) -> Tensor:
        """windows: (B + 1, W, D), one step apart, after: (B, D), the steps behind all but the last -> (B,)."""
        if self.reconstructs:
            return (self(windows[1:])[:, -1] - windows[1:, -1]).square().mean(1)
        return (self(windows[:-1]) - after).square().mean(1)

    def export_views(self) -> Mapping[str, Callable[[], View]]:
        return {"model": lambda: Detector(self)}


class Detector(View[AnomalyDetection]):
    """Exported detector: from raw values to the error of the last one, to be compared with the threshold."""

    def __init__(self, task: AnomalyDetection) -> None:
        super().__init__(task)
        shape = ("batch", task.spec.num_needed + 1, task.spec.num_columns)
        self.inputs = (Port("values", "float64", shape, "the last raw values"),)
        meaning = f"of the last step, an anomaly above {task.threshold:.7g}"
        self.outputs = (Port("error", "float32", ("batch",), meaning),)

    def real_inputs(self, data: DataModule, num: int) -> Tensors:
        history = typical_batch(data)[0][0]
        return (history.unfold(0, self.trained.spec.num_needed + 1, 1)[-num:].transpose(1, 2).contiguous(),)

    def forward(self, values: Tensor) -> Tensors:  # type: ignore[override]
        task, spec = self.task, self.trained.spec
        steps = spec.transform.apply(values.transpose(0, 1)).float().transpose(0, 1)  # (B, W + 1, D)
        window = steps[:, 1:] if task.reconstructs else steps[:, :-1]
        output = task(window)
        given = output[:, -1] if task.reconstructs else output
        return ((given - steps[:, -1]).square().mean(1),)

    def expected(self, values: Tensor) -> Tensors:  # type: ignore[override]
        return (torch.stack([self.trained.step_errors(one)[-1] for one in values]).float(),)
