"""What a trained task can do, as others ask it.

As with specs and nets, what callbacks, commands and exports want of a task they ask by these methods, never by its
class. Each ``as_…`` gives the task itself where it keeps the contract of that class in dlzoo/tasks/interfaces.py, which
overrides the method, and None elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from dlzoo.errors import UserError

if TYPE_CHECKING:
    from dlzoo.specs.base import Spec, Target
    from dlzoo.tasks.interfaces import (
        Acting,
        Decoding,
        Encoding,
        Forecasting,
        Generating,
        LanguageModel,
        Predicting,
    )
    from dlzoo.tasks.views import View


class Capabilities:
    """Of a task that can do nothing yet."""

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

    def as_decoder(self) -> Decoding | None:
        """It turns latents into images."""
        return None

    def as_generator(self) -> Generating | None:
        """It turns latents drawn from a known distribution into new images."""
        return None

    def as_agent(self) -> Acting | None:
        """It acts in environments."""
        return None

    def predict(self, inputs: Tensor) -> Tensor:
        """What the task answers to inputs that are not standardised; each interface says what that is.

        Raises:
            UserError: it answers nothing to an input.
        """
        raise UserError(f"{type(self).__name__} has learned neither classes nor values: there is nothing to predict")

    @property
    def predicted_target(self) -> Target | None:
        """The classes or values that `predict` answers with: those of the data, unless it finds its own; None: it
        predicts nothing."""
        return self.spec.target if self.as_predictor() is not None else None

    def export_views(self) -> Mapping[str, Callable[[], View]]:
        """What an export of the task may contain, by the name of the part: the first is the default.

        Each value builds the view (dlzoo/tasks/views.py). Empty: the task cannot be exported.
        """
        return {}

    def diagnostics(self) -> Iterator[str]:
        """What goes wrong, each with its remedy; asked after each epoch of training and after a test."""
        yield from ()
