"""What a trained task can do, queried by method.

As with specs and nets, callbacks, commands and exports query a task by these methods, never by its
class. Each ``as_…`` returns the task itself if it implements that interface of dlzoo/tasks/interfaces.py, which
overrides the method, else None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dlzoo.errors import UserError

if TYPE_CHECKING:
    from dlzoo.specs.base import Spec, Target
    from dlzoo.specs.batch import TensorOrDict
    from dlzoo.tasks.interfaces import (
        Acting,
        Encoding,
        Forecasting,
        Generating,
        LanguageModel,
        Predicting,
    )
    from dlzoo.tasks.views import View


class Capabilities:
    """Defaults of a task without any capability."""

    spec: Spec

    def as_predictor(self) -> Predicting | None:
        """It predicts the target of the data."""
        return None

    def as_forecaster(self) -> Forecasting | None:
        """It continues series."""
        return None

    def as_language_model(self) -> LanguageModel | None:
        """It continues texts."""
        return None

    def as_encoder(self) -> Encoding | None:
        """It turns images into latents."""
        return None

    def as_generator(self) -> Generating | None:
        """It turns latents drawn from a known distribution into new images."""
        return None

    def as_agent(self) -> Acting | None:
        """It acts in environments."""
        return None

    def predict(self, inputs: Any) -> TensorOrDict:
        """Predictions for raw (not standardised) inputs; each interface defines their meaning. Several inputs or
        targets are dicts of tensors by name.

        Raises:
            UserError: the task does not predict.
        """
        raise UserError(f"{type(self).__name__} predicts neither classes nor values: there is nothing to predict")

    @property
    def predicted_target(self) -> Target | None:
        """The classes or values that `predict` returns: those of the data, unless the task finds its own; None: it
        does not predict."""
        return self.spec.target if self.as_predictor() is not None else None

    def export_views(self) -> Mapping[str, Callable[[], View]]:
        """The exportable parts of the task by name: the first is the default.

        Each value builds the view (dlzoo/tasks/views.py). Empty: the task cannot be exported.
        """
        return {}

    def diagnostics(self) -> Iterator[str]:
        """Problems, each with its remedy; checked after each training epoch and after a test."""
        yield from ()
