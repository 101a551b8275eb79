"""A trained model: what it predicts, encodes, generates, forecasts and plays."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from dlzoo.api.frames import printable
from dlzoo.errors import UserError, at_least, visible
from dlzoo.utils import files as paths

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure
    from omegaconf import DictConfig

    from dlzoo.api.evaluation import Evaluation
    from dlzoo.api.images import Images
    from dlzoo.api.sounds import Sounds
    from dlzoo.inference.records import Record
    from dlzoo.inference.words import Words
    from dlzoo.nets.base import Net
    from dlzoo.specs.base import Spec
    from dlzoo.tasks.base import Task
    from dlzoo.tasks.interfaces import Detecting, Encoding


def load(path: str | Path, *, trust: str | None = None) -> Model:
    """A trained model from a run folder, a checkpoint or a published model, on the CPU and in evaluation mode.

    Args:
        path: ``outputs/…``, whose best checkpoint is loaded; a file such as ``outputs/…/checkpoints/last.ckpt``; or a
            folder that `Model.publish` has written.
        trust: your own packages whose classes the checkpoint may use: ``"mypkg"``, or ``"[a,b]"``.

    Raises:
        UserError: there is no checkpoint, or it cannot be rebuilt.
    """
    from dlzoo.inference import loading
    from dlzoo.utils import model_folders

    ckpt = model_folders.checkpoint(str(path), "path")
    task, config = loading.load(ckpt, trust)
    return Model(task, config, ckpt, trust=trust)


def pretrained(model: str, *overrides: str, weights: str = "imagenet") -> Model:
    """A library's net with its published weights and classes, without training here.

    Args:
        model: a name in configs/model, such as ``resnet50`` or ``timm``.
        overrides: further options of the net, ``"net.name=…"``.
        weights: ``imagenet``, or a file.

    Raises:
        UserError: a model without published weights, or weights that cannot be read.
    """
    from dlzoo.inference.pretrained import load_pretrained

    return Model(*load_pretrained(model, [f"net.weights={weights}", *overrides]))


class Model:
    """A trained net with its task and the spec of its data.

    Methods that a model does not have, such as `sample` of a classifier, raise a `UserError` that says what it is.
    """

    def __init__(self, task: Task, config: DictConfig, path: Path | None = None, *, trust: str | None = None) -> None:
        self.task = task
        self.config = config
        """What it was trained with."""
        self.path = path
        """The checkpoint, or the folder of a published model."""
        self.trust = trust

    @property
    def net(self) -> Net:
        """The net, an ``nn.Module``."""
        return self.task.net

    @property
    def spec(self) -> Spec:
        """What its data are: shapes, columns, classes, and everything that was fitted to the training data."""
        return self.task.spec

    @property
    def classes(self) -> list[str]:
        """The names of the classes, or of the values that it predicts."""
        return list(self._target().names)

    def predict(self, inputs: Any, *, top_k: int = 1) -> pd.DataFrame:
        """Predictions, one row for each input.

        Args:
            inputs: for images, paths, folders, PIL images, arrays or tensors, uint8 or in [0, 1]; for sound, paths,
                folders, or arrays of samples at the rate of the model, (L,), (N, L) or a list of (L,); for tables, a
                DataFrame, dicts, an array or a CSV file; for sequences, a DataFrame or a CSV file with the columns of
                training, or arrays (T, D) or (N, T, D); for texts, strings, or a file as ``pathlib.Path``; for agents,
                observations.
            top_k: number of classes to list, the most probable first.

        Returns:
            For one class ``class`` and ``probability``, for several ``class_1``, ``probability_1``, …; for sentences
            ``words`` and ``tags``, between spaces; for nets that find anomalies in a series, as `forecast` takes it,
            ``error`` and ``anomaly`` of each step; else a column for each value. The index names the inputs: the paths,
            the texts, or the row numbers.

        Raises:
            UserError: inputs that the model does not take, or a model that predicts nothing of this kind.
        """
        import pandas as pd

        from dlzoo.inference.records import cells_of, headings_of, parts_of
        from dlzoo.specs.batch import first_tensor

        at_least(1, top_k=top_k)
        if self.spec.environment is not None:
            actions = [first_tensor(self.task.predict(x)).tolist() for _, x in self._batches(inputs)]
            return pd.DataFrame({"action": [*itertools.chain(*actions)]})
        if (detector := self.task.as_detector()) is not None:
            return self._anomalies(detector, inputs)
        records = self.records(inputs, top_k=top_k)
        first = parts_of(records[0])
        names = [name for target, part in first.items() for name in headings_of(target, part)]
        if top_k == 1:
            names = [name.removesuffix("_1") for name in names]
        rows = [[cell for part in parts_of(record).values() for cell in cells_of(part)] for record in records]
        return printable(pd.DataFrame(rows, columns=names, index=[record["input"] for record in records]))

    def records(self, inputs: Any, *, top_k: int = 1) -> list[Record]:
        """What `predict` returns as plain values, as ``dlzoo predict format=json`` prints them."""
        from dlzoo.inference.predict import predict
        from dlzoo.inference.records import to_records

        target = self._target()
        parts = ((names, predict(self.task, x)) for names, x in self._batches(inputs))
        return [record for names, result in parts for record in to_records(names, result, target, top_k, self.spec)]

    def predict_proba(self, inputs: Any) -> pd.DataFrame:
        """The probability of each class, (N, K): a row for each input, a column for each class.

        Raises:
            UserError: the model does not predict probabilities of classes.
        """
        import pandas as pd

        from dlzoo.inference.predict import predict

        target = self._target()
        if target.named is not None or not (target.labels is not None or target.classes is not None):
            raise UserError(f"{self} predicts {target.what}, not classes: use predict()")
        parts = [(names, predict(self.task, x)) for names, x in self._batches(inputs)]
        rows = [row for _, result in parts for row in result.tolist()]
        index = [name for names, _ in parts for name in names]
        return printable(pd.DataFrame(rows, columns=[*target.names], index=index))

    def encode(self, inputs: Any) -> np.ndarray:
        """The latents of images, (N, D).

        Raises:
            UserError: the model is no autoencoder, or its encoder needs the classes.
        """
        import numpy as np
        import torch

        encoder = self._encoder()
        with torch.inference_mode():
            return np.concatenate([encoder.encode(x).numpy() for _, x in self._batches(inputs)])

    def reconstruct(self, inputs: Any) -> Images:
        """Images as an autoencoder reconstructs or denoises them.

        Raises:
            UserError: the model is no autoencoder of images, or its decoder needs the classes.
        """
        import torch

        from dlzoo.api.images import Images
        from dlzoo.inference import predict

        encoder = self._encoder()
        if self.spec.images is None:
            self._cannot("reconstruct images")
        return Images(torch.cat([predict.reconstruct(encoder, x) for _, x in self._batches(inputs)]))

    def sample(self, num: int = 64, *, seed: int = 0, label: str | None = None) -> Images:
        """New images of a generative model: a function of the weights and the arguments alone.

        Args:
            num: how many.
            seed: of the random latents.
            label: the class, of a class-conditional model; None: all in turn.

        Raises:
            UserError: the model generates no images, or has no such class.
        """
        from dlzoo.api.images import Images
        from dlzoo.inference import images

        generator = self.task.as_generator()
        if generator is None:
            self._cannot("generate images")
        return Images(images.generate(generator, images.Options(n=num, class_name=label, seed=seed)))

    def generate(
        self,
        prompt: str = "",
        *,
        length: int = 500,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> str:
        """A text of a language model: the prompt and its continuation.

        Args:
            prompt: the text to continue.
            length: tokens to generate: characters, words or pieces of words.
            temperature: below 1 favours likely tokens, 0 always picks the most likely one.
            top_k: sample only from the most likely tokens; None: from all.
            top_p: of these, only from the fewest most likely ones that have this probability together; None: from all.
            seed: of the sampling.

        Raises:
            UserError: the model continues no texts.
        """
        from dlzoo.inference import text

        model = self.task.as_language_model()
        if model is None:
            self._cannot("continue texts")
        options = text.Options(
            prompt=prompt, temperature=temperature, top_k=top_k, top_p=top_p, length=length, seed=seed
        )
        return text.generate(model.net, model.spec, options)

    def sample_sound(
        self,
        num: int = 10,
        *,
        seconds: float | None = None,
        label: str | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> Sounds:
        """New recordings of a model that generates sound: a function of the weights and the arguments alone.

        Args:
            num: how many.
            seconds: length of each; None: as in training.
            label: the class, of a model that is given classes; None: all in turn.
            temperature, top_k, top_p: as for `generate`, of the 256 levels of a sample.
            seed: of the sampling.

        Raises:
            UserError: the model generates no sound, or has no such class.
        """
        from dlzoo.api.sounds import sounds_of
        from dlzoo.inference.sound import Options

        model = self.task.as_sound_model()
        if model is None:
            self._cannot("generate sound")
        options = Options(
            n=num, class_name=label, seconds=seconds, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed
        )
        return sounds_of(model, options)

    @property
    def words(self) -> Words:
        """The words of a model of word vectors, with what can be asked of them: ``model.words.most_similar("king")``.

        Raises:
            UserError: the model has no word vectors.
        """
        from dlzoo.inference.words import Words

        model = self.task.as_word_vectors()
        if model is None:
            self._cannot("have word vectors")
        return Words.of_task(model)

    def forecast(self, history: Any = None, *, horizon: int | None = None) -> pd.DataFrame:
        """The next steps of a series: a row for each, named by its time, and a column for each value.

        Args:
            history: the values so far: a pandas Series with its times as index, a DataFrame, or a CSV file; None: the
                series of the run, to its end.
            horizon: steps to forecast; None: as in training.

        Raises:
            UserError: the model forecasts no series, or the history does not fit.
        """
        import pandas as pd

        from dlzoo.api import inputs
        from dlzoo.data.series.base import SeriesData
        from dlzoo.inference import loading, predict
        from dlzoo.inference.inputs import labels

        forecaster = self.task.as_forecaster()
        if forecaster is None:
            self._cannot("forecast series")
        at_least(1, horizon=horizon)
        from dlzoo.data.series.base import with_known

        if history is None:
            data = loading.data_of(self.config, self.checkpoint())
            assert isinstance(data, SeriesData)
            known = data.whole
        else:
            known = inputs.history(history, forecaster.spec, self.config)
        rows = with_known(known, forecaster.spec, len(known.values))
        values = predict.forecast(forecaster, rows, horizon or forecaster.spec.horizon)
        return pd.DataFrame(
            values.tolist(), index=labels(known, len(values)), columns=[*map(visible, forecaster.spec.target.names)]
        )

    def play(self, episodes: int = 3, *, seed: int = 0, video: str | Path | None = None) -> pd.DataFrame:
        """Episodes of an agent in its environment: the return and the number of steps of each.

        Args:
            episodes: how many.
            seed: of the initial states.
            video: a file to write, .gif or .mp4.

        Raises:
            UserError: the model is no agent, or its environment cannot be made or drawn.
        """
        import pandas as pd

        from dlzoo.inference import episodes as filming

        agent = self.task.as_agent()
        if agent is None:
            self._cannot("play")
        output = None if video is None else filming.video_path(str(video), self.checkpoint())
        takes = [*filming.play(agent, self.config, self.checkpoint(), episodes, seed, draw=output is not None)]
        if output is not None:
            paths.write(output, filming.video(takes, output.suffix))
        return pd.DataFrame({"return": [take.total for take in takes], "steps": [take.length for take in takes]})

    def explain(self, inputs: Any, *, top_k: int = 3, layer: str | None = None) -> Figure:
        """Where a classifier of images sees the evidence for its most probable classes (Grad-CAM).

        Args:
            inputs: images, as for `predict`.
            top_k: classes to show.
            layer: whose feature maps are used; None: the last one that has any.

        Raises:
            UserError: the model does not classify images, or has no feature maps.
        """
        from dlzoo.api import evidence
        from dlzoo.inference import activations
        from dlzoo.utils import caller_state

        classifier = self.task.as_predictor()
        if classifier is None or self.spec.images is None or self.spec.target.classes is None:
            self._cannot("classify images")
        names, x = next(self._batches(inputs))
        if not activations.look(self.task, x[:1]).layers:
            raise UserError(f"{self} has no layer with feature maps: there is no place to show")
        subjects = evidence.Subjects(x, [Path(str(name)).name for name in names], None)
        with caller_state.style():
            return evidence.figure(classifier, subjects, top_k=top_k, layer=layer)

    def evaluate(self, data: str | None = None, *overrides: str) -> Evaluation:
        """The metrics of the test split.

        Args:
            data: a name in configs/data; None: the data of the run, with the same splits.
            overrides: options of the data or the trainer, ``"data.path=rows.csv"``.

        Raises:
            UserError: the data are missing, do not match the model, or are what it was trained on.
        """
        from dlzoo.api import evaluation
        from dlzoo.utils.caller_state import preserved

        with preserved():
            return evaluation.evaluate(self.checkpoint(), data=data, overrides=overrides, trust=self.trust)

    def __repr__(self) -> str:
        names = self.config.get("names") or {}
        return visible(f"<Model {names.get('model') or type(self.net).__name__}: {self.spec.describe()}>", keep="")

    def _batches(self, given: Any) -> Iterator[tuple[Sequence[Any], Any]]:
        """The inputs in batches; at least one."""
        from dlzoo.api import inputs

        found = inputs.batches(given, self.spec, self.config)
        first = next(found, None)
        if first is None:
            raise UserError("there are no inputs: give at least one")
        return itertools.chain([first], found)

    def _anomalies(self, task: Detecting, given: Any) -> pd.DataFrame:
        import pandas as pd

        from dlzoo.api import inputs
        from dlzoo.inference.anomalies import detect

        times, found = detect(task, inputs.history(given, task.spec, self.config), "the series")
        error, is_anomaly = found.double().unbind(1)
        return pd.DataFrame({"error": error.numpy(), "anomaly": is_anomaly.bool().numpy()}, index=times)

    def _target(self) -> Any:
        target = self.task.predicted_target
        if target is None:
            self._cannot("predict classes or values")
        return target

    def _encoder(self) -> Encoding:
        encoder = self.task.as_encoder()
        if encoder is None:
            self._cannot("encode inputs")
        if encoder.is_conditional:
            raise UserError(f"{self} is class-conditional: it needs the class of each image, which it does not get")
        return encoder

    def _cannot(self, what: str) -> NoReturn:
        can = [name for name, is_there in self.abilities().items() if is_there]
        raise UserError(f"{self} ({type(self.task).__name__}) does not {what}; it has: {', '.join(can)}")

    def _has_predictions(self) -> bool:
        task = self.task
        is_predictor = task.predicted_target is not None and not task.as_forecaster()
        return is_predictor or task.as_agent() is not None or task.as_detector() is not None

    def abilities(self) -> dict[str, bool]:
        """The methods by name, and whether this model has them."""
        task = self.task
        is_classifier = self.spec.images is not None and self.spec.target.classes is not None
        return {
            "predict": self._has_predictions(),
            "encode": task.as_encoder() is not None,
            "reconstruct": self.spec.images is not None and task.as_encoder() is not None,
            "sample": task.as_generator() is not None,
            "generate": task.as_language_model() is not None,
            "sample_sound": task.as_sound_model() is not None,
            "words": task.as_word_vectors() is not None,
            "forecast": task.as_forecaster() is not None,
            "play": task.as_agent() is not None,
            "explain": is_classifier and task.as_predictor() is not None,
        }

    def publish(
        self, to: str | Path, *, license: str | None = None, private: bool = False, overwrite: bool = False
    ) -> str:
        """Write the model with a card and an example into a folder that `dlzoo.load` reads, or upload it.

        Args:
            to: a folder, or ``hub:<owner>/<name>`` on the Hugging Face Hub.
            license: of the weights, such as ``mit`` or ``cc-by-4.0``.
            private: of a new repository on the hub: whether only its owner sees it.
            overwrite: replace a published model in the folder.

        Returns:
            The folder, or the address on the hub.

        Raises:
            UserError: the folder is in use, or the hub cannot be used.
        """
        from dlzoo.api import publish

        return publish.publish(lambda: self, to, license=license, private=private, overwrite=overwrite)

    def checkpoint(self) -> Path:
        """Where it was loaded from.

        Raises:
            UserError: it has no checkpoint, as nets with published weights.
        """
        if self.path is None:
            raise UserError(f"{self} has no checkpoint and no data: it was not trained here")
        return self.path
