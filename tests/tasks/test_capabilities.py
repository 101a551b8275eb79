"""Capabilities of tasks, and that callbacks, commands and exports rely on them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from dlzoo.callbacks.agent_report import AgentReport
from dlzoo.callbacks.base import Report
from dlzoo.callbacks.classification_report import ClassificationReport
from dlzoo.callbacks.cluster_report import ClusterReport
from dlzoo.callbacks.components_report import ComponentsReport
from dlzoo.callbacks.energy_report import EnergyReport
from dlzoo.callbacks.forecast_report import ForecastReport
from dlzoo.callbacks.gan_curves import GANCurves
from dlzoo.callbacks.gibbs_report import GibbsReport
from dlzoo.callbacks.gradient_flow import GradientFlow
from dlzoo.callbacks.latent_report import LatentReport
from dlzoo.callbacks.linear_probe import LinearProbe
from dlzoo.callbacks.prediction_grid import PredictionGrid
from dlzoo.callbacks.recall_report import RecallReport
from dlzoo.callbacks.regression_report import RegressionReport
from dlzoo.callbacks.sample_animation import SampleAnimation
from dlzoo.callbacks.sample_quality import SampleQuality
from dlzoo.callbacks.tag_report import TagReport
from dlzoo.callbacks.text_baselines import NgramBaseline, TrigramBaseline
from dlzoo.callbacks.text_mistakes import TextMistakes
from dlzoo.callbacks.text_samples import TextSamples
from dlzoo.callbacks.translation_report import TranslationReport
from dlzoo.callbacks.word_report import WordReport
from dlzoo.config import compose as config
from dlzoo.config import instantiate as build
from dlzoo.config.run_config import RunConfig
from dlzoo.errors import UserError
from dlzoo.export.views import view_of
from dlzoo.specs import (
    Actions,
    Classes,
    Column,
    EnvSpec,
    ImageSpec,
    NextTokens,
    SentenceSpec,
    SeriesSpec,
    Spec,
    TableSpec,
    Tags,
    TextSpec,
    Values,
)  # fmt: skip
from dlzoo.specs.token_sequences import TokenSequences
from dlzoo.specs.tokenizer import Tokenizer
from dlzoo.tasks.base import Task

AB = Classes(("a", "b"))
IMAGES = ImageSpec(1, 28, 28, AB)
TEXTS = TextSpec(AB, vocabulary=("<pad>", "<unk>", "x", "y"))
BOOK = TextSpec(NextTokens(4), Tokenizer("char"), vocabulary=("<pad>", "<unk>", "x", "y"))
WORDS = TextSpec(NextTokens(4), vocabulary=("<pad>", "<unk>", "x", "y"))
PAIRS = TextSpec(TokenSequences(), vocabulary=("<pad>", "<unk>", "x", "y"))
SENTENCES = SentenceSpec(Tags(("a", "b")), vocabulary=("<pad>", "<unk>", "x"), characters=("<pad>", "<unk>", "x"))
SERIES = SeriesSpec(Values(("v",)), window=4, horizon=3, scales=(1.0,))
CARTPOLE = EnvSpec("CartPole-v1", (4,), Actions(("left", "right")))
CAPABILITIES = (
    "predictor", "forecaster", "language_model", "encoder", "image_encoder", "decomposition", "clustering", "generator",
    "memory", "energy_model", "gibbs_sampler", "word_vectors", "transducer", "agent",
)  # fmt: skip

CAN: dict[str, tuple[Spec, str, str | None, set[type[Report]]]] = {
    "mlp": (
        TableSpec((Column("x"),), AB), "predictor", "model",
        {ClassificationReport},
    ),
    "linear": (
        TableSpec((Column("x"),), Values(("y",))), "predictor", "model",
        {RegressionReport},
    ),
    "lenet": (IMAGES, "predictor", "model", {ClassificationReport, PredictionGrid}),
    "perceptron": (TableSpec((Column("x"),), AB), "predictor", "model", {ClassificationReport}),
    "kmeans": (TableSpec((Column("x"), Column("y")), AB), "encoder clustering", "model", {ClusterReport}),
    "pca": (
        IMAGES, "encoder image_encoder decomposition", "model decoder",
        {LatentReport, LinearProbe, SampleAnimation, PredictionGrid, ComponentsReport},
    ),
    "rbf": (IMAGES, "predictor", "model", {ClassificationReport, PredictionGrid}),
    "bilstm": (TEXTS, "predictor", "model", {ClassificationReport, TextMistakes}),
    "glove": (WORDS, "word_vectors", "model", {WordReport}),
    "word2vec": (WORDS, "word_vectors", "model", {WordReport}),
    "fasttext": (TEXTS, "predictor", "model", {ClassificationReport, TextMistakes}),
    "transformer_classifier": (TEXTS, "predictor", "model", {ClassificationReport, TextMistakes}),
    "tagger": (SENTENCES, "predictor", "model", {ClassificationReport, TagReport}),
    "transformer_tagger": (SENTENCES, "predictor", "model", {ClassificationReport, TagReport}),
    "char_rnn": (BOOK, "language_model", "model", {TextSamples}),
    "gpt": (BOOK, "language_model", "model", {TextSamples}),
    "seq2seq": (PAIRS, "transducer", "encoder decoder", {TranslationReport}),
    "seq2seq_attention": (PAIRS, "transducer", "encoder decoder", {TranslationReport}),
    "transformer": (PAIRS, "transducer", "encoder decoder", {TranslationReport}),
    "lstm": (SERIES, "predictor forecaster", "model", {ForecastReport, RegressionReport}),
    "autoencoder": (
        IMAGES, "encoder image_encoder", "model decoder",
        {LatentReport, LinearProbe, SampleAnimation, PredictionGrid},
    ),
    "vae": (
        IMAGES, "encoder image_encoder generator", "model decoder",
        {LatentReport, LinearProbe, SampleAnimation, PredictionGrid},
    ),
    "hopfield": (
        IMAGES, "encoder image_encoder memory", "model",
        {LatentReport, PredictionGrid, RecallReport},
    ),
    "modern_hopfield": (
        IMAGES, "encoder image_encoder memory", "model",
        {LatentReport, PredictionGrid, RecallReport},
    ),
    "boltzmann_machine": (
        ImageSpec(1, 3, 3, AB), "generator energy_model", None,
        {EnergyReport, LatentReport, PredictionGrid, SampleAnimation},
    ),
    "rbm": (
        IMAGES, "encoder image_encoder generator gibbs_sampler", "model decoder",
        {LatentReport, LinearProbe, SampleAnimation, PredictionGrid, GibbsReport},
    ),
    "dbn": (
        IMAGES, "predictor generator gibbs_sampler", "model decoder",
        {LatentReport, SampleAnimation, PredictionGrid, ClassificationReport, GibbsReport},
    ),
    "gan": (
        IMAGES, "generator", "decoder",
        {LatentReport, SampleAnimation, PredictionGrid, GANCurves, SampleQuality},
    ),
    "dqn": (CARTPOLE, "agent", "model", {AgentReport}),
}  # fmt: skip
"""By model: the data's spec, what its task can do, the parts of an export or None, and the reports that apply."""

REPORTS = (
    AgentReport, ClassificationReport, ClusterReport, ComponentsReport, RegressionReport, ForecastReport, GANCurves,
    GibbsReport, LatentReport, LinearProbe, RecallReport, EnergyReport,
    PredictionGrid, SampleAnimation, SampleQuality, TextMistakes, TextSamples,
    TagReport, TranslationReport, WordReport,
)  # fmt: skip


def task_of(model: str, spec: Spec | None = None) -> Task:
    torch.manual_seed(0)
    return build.build_task(RunConfig.from_hydra(config.compose([f"model={model}"])), spec or CAN[model][0]).eval()


@pytest.mark.parametrize("model", CAN)
def test_what_each_task_can_do(model: str) -> None:
    task, (_, can, parts, reports) = task_of(model), CAN[model]
    answers = {name: getattr(task, f"as_{name}")() for name in CAPABILITIES}
    assert {name for name, answer in answers.items() if answer is not None} == {*can.split()}
    assert all(answer is task for answer in answers.values() if answer is not None)
    if parts is None:
        with pytest.raises(UserError, match="there is nothing to export"):
            task.export_views()
    else:
        assert list(task.export_views()) == parts.split()
    assert {kind for kind in REPORTS if kind().applies_to(task)} == reports


def test_predictions_are_of_the_target() -> None:
    shares = task_of("lenet").predict(IMAGES.example(5)[0])
    assert shares.shape == (5, 2)
    torch.testing.assert_close(shares.sum(1), torch.ones(5))
    assert task_of("linear").predict(torch.zeros(3, 1)).shape == (3, 1)
    assert task_of("lstm").predict(torch.arange(30.0, dtype=torch.float64)[:, None]).shape == (3, 1)


def test_predictions_follow_from_outputs() -> None:
    predictor, x = task_of("lenet").as_predictor(), IMAGES.example(5)[0]
    assert predictor is not None
    torch.testing.assert_close(predictor.outputs(x).softmax(1), predictor.predict(x))


def test_predictions_of_tasks_without_a_target_of_their_own() -> None:
    x = IMAGES.example(3)[0]
    encoder = task_of("autoencoder").as_encoder()
    assert encoder is not None
    assert torch.equal(encoder.predict(x), encoder.decode(encoder.encode(x)))
    shares = task_of("char_rnn").predict(torch.tensor([[2, 3, 2]]))
    assert shares.shape == (1, 3, 4)
    torch.testing.assert_close(shares.sum(2), torch.ones(1, 3))
    agent, seen = task_of("dqn").as_agent(), np.eye(4, dtype=np.float32)
    assert agent is not None
    assert agent.predict(torch.from_numpy(seen)).tolist() == agent.greedy(seen).tolist()
    with pytest.raises(UserError, match="Adversarial predicts neither classes nor values"):
        task_of("gan").predict(x)


def test_samples_are_decoded_latents() -> None:
    generator = task_of("vae").as_generator()
    assert generator is not None
    assert torch.equal(generator.sample(4, seed=1), generator.decode(generator.draw(4, seed=1)))
    assert not torch.equal(generator.sample(4, seed=1), generator.sample(4, seed=2))


def test_exporting_an_unknown_part_is_rejected() -> None:
    with pytest.raises(UserError, match=r"part=encoder: .*Adversarial\) has no such part; what can be .*: decoder"):
        view_of(task_of("gan"), "encoder")
    with pytest.raises(UserError, match="a random agent has no trained net"):
        view_of(task_of("random", CARTPOLE))
    with pytest.raises(UserError, match=r"Task cannot be exported: it has no export_views\(\)"):
        view_of(Task(task_of("mlp").net, CAN["mlp"][0]))


def test_an_export_uses_the_copy_and_compares_with_the_task() -> None:
    task = task_of("lstm")
    view = view_of(task)
    assert view.trained is task
    assert view.task is not task
    history = torch.arange(30.0, dtype=torch.float64)[None, -view.trained.spec.shape[0] :, None]
    torch.testing.assert_close(view(history)[0], view.expected(history)[0])


@pytest.mark.parametrize(
    ("report", "model", "message"),
    [
        (NgramBaseline(), "lenet", "callbacks.ngrams is a baseline for text classification, but the data gives images"),
        (TrigramBaseline(), "bilstm", "callbacks.trigram is a baseline for language models, but Classification learns"),
        (GradientFlow(), "mlp", "callbacks.gradient_flow needs a net with a scalar state .* but this is MLP"),
    ],
)
def test_an_inapplicable_requested_report_is_reported(report: Report, model: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        report.applies_to(task_of(model))


def test_classes_that_are_not_tasks_are_rejected() -> None:
    cfg = config.compose(["model=mlp"])
    for target in ("torch.nn.Linear", "lightning.pytorch.LightningModule"):
        OmegaConf.update(cfg, "task._target_", target)
        with pytest.raises(
            UserError, match=f"task._target_={target} is not a task: derive it from dlzoo.tasks.base.Task"
        ):
            build.build_task(RunConfig.from_hydra(cfg), CAN["mlp"][0])
