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
        Decomposing,
        Detecting,
        Encoding,
        EnergyBased,
        Forecasting,
        Generating,
        GibbsSampling,
        Grouping,
        LanguageModel,
        Minimizing,
        Predicting,
        Recalling,
        SoundModel,
        Transducing,
        WordVectors,
    )
    from dlzoo.tasks.views import View


class Capabilities:
    """Defaults of a task without any capability."""

    spec: Spec

    def as_predictor(self) -> Predicting | None:
        """It predicts the target of the data."""
        return None

    def as_minimizer(self) -> Minimizing | None:
        """It learns the target of the data by a loss."""
        return None

    def as_forecaster(self) -> Forecasting | None:
        """It continues series."""
        return None

    def as_detector(self) -> Detecting | None:
        """It finds anomalies in series."""
        return None

    def as_language_model(self) -> LanguageModel | None:
        """It continues texts."""
        return None

    def as_sound_model(self) -> SoundModel | None:
        """It generates sound, sample by sample."""
        return None

    def as_transducer(self) -> Transducing | None:
        """It turns a sequence of tokens into another one."""
        return None

    def as_encoder(self) -> Encoding | None:
        """It turns images or the rows of a table into latents, and back."""
        return None

    def as_image_encoder(self) -> Encoding | None:
        """It turns images into latents and back, and predicts nothing else: its reconstructions are what to look at."""
        return self.as_encoder() if self.spec.images is not None and self.predicted_target is None else None

    def as_decomposition(self) -> Decomposing | None:
        """Its latents are coordinates along components."""
        return None

    def as_clustering(self) -> Grouping | None:
        """It groups rows around centroids."""
        return None

    def as_generator(self) -> Generating | None:
        """It turns latents drawn from a known distribution into new images."""
        return None

    def as_gibbs_sampler(self) -> GibbsSampling | None:
        """It generates images by Gibbs chains."""
        return None

    def as_memory(self) -> Recalling | None:
        """It recalls stored images from corrupted ones."""
        return None

    def as_energy_model(self) -> EnergyBased | None:
        """It is a distribution over black-and-white images, by an energy."""
        return None

    def as_word_vectors(self) -> WordVectors | None:
        """It has a vector for each word of its vocabulary."""
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

        Raises:
            UserError: it cannot, and why.
        """
        return {}

    def diagnostics(self) -> Iterator[str]:
        """Problems, each with its remedy; checked after each training epoch and after a test."""
        yield from ()
