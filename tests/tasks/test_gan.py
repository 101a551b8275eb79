"""Adversarial nets: losses by definition; two optimizers that step, count, clip, accumulate and resume as one."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.plugins.precision import MixedPrecision
from picture_runs import content, run, same, whole_and_parts
from torch import Tensor, nn

from dlzoo.config import compose as config
from dlzoo.config.run_config import RunConfig
from dlzoo.data.base import InMemoryData
from dlzoo.data.loaders import Arrays
from dlzoo.errors import UserError
from dlzoo.nets.gan import GAN
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.targets import Classes
from dlzoo.tasks.gan import LOSSES, Adversarial, energy_distance
from dlzoo.training import trainer as training_trainer

SPEC = ImageSpec(1, 4, 4, Classes(("a", "b")))
FEW = ("trainer.limit_train_batches=6", "model=gan", "net.generator=[16]", "net.discriminator=[16]")


class Small(GAN):
    """Without BatchNorm and dropout: batches can be added up, and every step is a function of its batch."""

    def __init__(self, spec: ImageSpec) -> None:
        super().__init__(spec, latent_dim=32, generator=(16,), discriminator=(16,), dropout=0.0)
        self.generator[1] = nn.Identity()


class Images(InMemoryData):
    def declare(self) -> ImageSpec:
        return SPEC

    def load(self, split: str) -> Arrays:  # type: ignore[override]
        x = torch.randint(256, (160, 1, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        return Arrays(x, torch.arange(160) % 2)


NOISE = 5
"""The seed of the latents."""


def fit(
    *,
    batch_size: int = 32,
    sgd: bool = True,
    options: dict[str, Any] | None = None,
    plugins: Any = None,
    **trainer: Any,
) -> Adversarial:
    """A task after training on 128 images from given weights."""
    torch.manual_seed(7)
    optimizer: Any = (lambda p, lr=0.1: torch.optim.SGD(p, lr)) if sgd else (lambda p, lr=1e-3: torch.optim.Adam(p, lr))
    task = Adversarial(Small(SPEC), SPEC, optimizer=optimizer, **(options or {}))
    runner = pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, plugins=plugins,
        enable_model_summary=False, num_sanity_val_steps=0, **{"max_epochs": 1, **trainer},
    )  # fmt: skip
    task.setup_trainer(runner)
    torch.manual_seed(NOISE)
    runner.fit(task, Images(batch_size=batch_size, val_size=32))
    return task


def weights(task: Adversarial) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in task.net.named_parameters()}


def assert_close(one: Adversarial, other: Adversarial, **tolerance: float) -> None:
    torch.testing.assert_close(weights(one), weights(other), **tolerance)


# Losses


def test_bce_is_the_cross_entropy_of_the_paper() -> None:
    z = torch.linspace(-5, 5, 11)
    ones, zeros = torch.ones(11), torch.zeros(11)
    for results, label in (
        (LOSSES["bce"].real(z), ones),
        (LOSSES["bce"].fake(z), zeros),
        (LOSSES["bce"].generator(z), ones),
    ):
        torch.testing.assert_close(results, F.binary_cross_entropy_with_logits(z, label, reduction="none"))


@pytest.mark.parametrize("name", LOSSES)
def test_losses_decrease_in_the_right_direction(name: str) -> None:
    z = torch.tensor([0.2, 0.8])
    real, generated, generator = (loss(z) for loss in LOSSES[name])
    assert real[1] < real[0]
    assert generated[0] < generated[1]
    assert generator[1] < generator[0]


def test_penalties_of_a_linear_critic() -> None:
    net = Small(SPEC)
    net.discriminator = nn.Linear(16, 1)
    slope = 2 * net.discriminator.weight.norm()  # pixels are doubled on their way in
    x, generated = torch.rand(5, 1, 4, 4), torch.rand(5, 1, 4, 4)
    results = Adversarial(net, SPEC, gradient_penalty=10.0).penalty(x, generated, None)
    torch.testing.assert_close(results, 10 * (slope - 1).square())
    results = Adversarial(net, SPEC, real_penalty=3.0).penalty(x, generated, None)
    torch.testing.assert_close(results, 1.5 * slope.square())
    results.backward()
    assert net.discriminator.weight.grad is not None


def test_the_penalty_at_real_images() -> None:
    """A critic with a kink: its gradient differs between real and generated images."""
    net = Small(SPEC)
    net.discriminator = nn.Sequential(nn.Linear(16, 1, bias=False), nn.ReLU())
    nn.init.ones_(net.discriminator[0].weight)
    task = Adversarial(net, SPEC, real_penalty=1.0)
    bright, dark = torch.ones(5, 1, 4, 4), torch.zeros(5, 1, 4, 4)
    assert float(task.penalty(bright, dark, None)) == pytest.approx(0.5 * (2 * 4) ** 2)
    assert float(task.penalty(dark, bright, None)) == 0


def test_lazy_penalties_are_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    losses: list[float] = []
    backward = Adversarial.backward_part

    def note(task: Adversarial, loss: Tensor) -> None:
        losses.append(float(loss))
        backward(task, loss)

    monkeypatch.setattr(Adversarial, "backward_part", note)
    monkeypatch.setattr(Adversarial, "penalty", lambda *_: 100.0)
    fit(options={"real_penalty": 1.0, "penalty_every": 3})
    assert [round(loss, -2) for loss in losses[::2]] == [300, 0, 0, 300]  # every other loss is the generator's


def test_the_energy_distance_matches_its_definition() -> None:
    x, y = torch.rand(5, 1, 2, 2), torch.rand(4, 1, 2, 2)

    def mean(a: Tensor, b: Tensor, *, within: bool = False) -> float:
        pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if not within or i != j]
        return sum(float((a[i] - b[j]).norm()) for i, j in pairs) / len(pairs)

    expected = 2 * mean(x, y) - mean(x, x, within=True) - mean(y, y, within=True)
    assert float(energy_distance(x, y)) == pytest.approx(expected, rel=1e-4)
    big = torch.rand(2000, 1, 2, 2)
    assert abs(float(energy_distance(big[:1000], big[1000:]))) < 0.01
    assert float(energy_distance(big[:1000], big[1000:] + 0.2)) > 0.05


# Steps


def step_by_hand(task: Adversarial, x: Tensor, codes: Tensor, lr: float) -> None:
    """The algorithm of the paper, with plain gradient descent."""
    net = task.net
    generated = net.generate(codes)
    loss = F.softplus(-net.discriminate(x)).mean() + F.softplus(net.discriminate(generated.detach())).mean()
    slopes = torch.autograd.grad(loss, [*net.discriminator.parameters()])
    with torch.no_grad():
        for p, slope in zip(net.discriminator.parameters(), slopes, strict=True):
            p -= lr * slope
    loss = F.softplus(-net.discriminate(net.generate(codes))).mean()
    slopes = torch.autograd.grad(loss, [*net.generator.parameters()])
    with torch.no_grad():
        for p, slope in zip(net.generator.parameters(), slopes, strict=True):
            p -= lr * slope


def test_a_step_updates_the_discriminator_then_the_generator() -> None:
    trained, by_hand = fit(max_steps=2), fit(max_steps=0)
    data = Images(batch_size=32, val_size=32)
    data.setup("fit")
    torch.manual_seed(NOISE)
    for (x, *_), _ in zip(data.train_dataloader(), range(2), strict=False):
        step_by_hand(by_hand, x.float() / 255, torch.randn(32, 32), lr=0.1)
    assert_close(trained, by_hand)
    assert trained.trainer.global_step == 2


def test_accumulated_gradients_are_those_of_one_large_batch() -> None:
    whole = fit(batch_size=64, max_epochs=2)
    parts = fit(batch_size=16, max_epochs=2, accumulate_grad_batches=4)
    assert parts.trainer.global_step == whole.trainer.global_step == 4
    assert_close(whole, parts, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("num_batches", [2, 3])  # of 48, 48 and 32 images
def test_each_image_of_a_step_counts_the_same(num_batches: int) -> None:
    whole = fit(batch_size=48 * num_batches)
    parts = fit(batch_size=48, accumulate_grad_batches=num_batches)
    assert_close(whole, parts, atol=1e-5, rtol=1e-4)


def test_the_last_batches_of_an_epoch_form_a_step() -> None:
    assert fit(batch_size=16, accumulate_grad_batches=3).trainer.global_step == 3  # of 8 batches


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_clipping_bounds_the_step_of_each_net(algorithm: str) -> None:
    before = weights(fit(max_steps=0))
    options = {"gradient_clip_val": 1e-3, "gradient_clip_algorithm": algorithm}
    after = weights(fit(max_steps=1, **options))
    for part in ("generator", "discriminator"):
        moves = torch.cat([(after[name] - before[name]).flatten() for name in before if name.startswith(part)])
        size = moves.norm() if algorithm == "norm" else moves.abs().max()
        assert float(size) == pytest.approx(0.1 * 1e-3, rel=0.01), part


def scaled(growth: int) -> MixedPrecision:
    """Loss scaling without half precision, so that it must change nothing at all."""

    class OnlyScaling(MixedPrecision):
        def autocast_context_manager(self) -> Any:
            return torch.autocast("cpu", enabled=False)

    return OnlyScaling("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=growth))


@pytest.mark.parametrize("options", [{}, {"gradient_clip_val": 0.05}, {"accumulate_grad_batches": 4}])
def test_loss_scaling_changes_nothing(options: dict[str, Any]) -> None:
    """The scale doubles after each update of either net, in the midst of a step."""
    plain = fit(batch_size=16, max_epochs=2, **options)
    grown = fit(batch_size=16, max_epochs=2, plugins=scaled(1), **options)
    assert plain.trainer.global_step == grown.trainer.global_step
    assert_close(plain, grown, atol=1e-6, rtol=1e-5)


def test_a_gradient_that_overflows_is_skipped() -> None:
    task = fit(max_epochs=1, plugins=scaled(1), options={"loss": "wasserstein"})
    assert all(p.isfinite().all() for p in task.net.parameters())


@pytest.mark.parametrize("overrides", [[], ["trainer.precision=bf16-mixed"], ["trainer.gradient_clip_val=1.0"]])
def test_a_step_counts_once(overrides: list[str], tmp_path: Path) -> None:
    results = run(tmp_path, *FEW, *overrides, "trainer.max_epochs=3", "scheduler=exponential")
    assert (results["epochs"], results["steps"]) == (3, 18)
    saved = content(tmp_path)
    assert (saved["epoch"], saved["global_step"]) == (2, 18)
    assert len(saved["optimizer_states"]) == len(saved["lr_schedulers"]) == 2
    steps = [{int(s["step"]) for s in state["state"].values()} for state in saved["optimizer_states"]]
    assert steps == [{18}, {18}]
    with (tmp_path / "metrics.csv").open() as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [6, 12, 18]


def test_max_steps_are_steps(tmp_path: Path) -> None:
    assert run(tmp_path, *FEW, "trainer.max_steps=4", "trainer.max_epochs=-1")["steps"] == 4


def test_critic_steps_and_schedules(tmp_path: Path) -> None:
    overrides = (
        "scheduler=exponential",
        "scheduler.gamma=0.5",
        "task.discriminator_steps=3",
        "task.discriminator_lr=0.01",
    )
    run(tmp_path, *FEW, *overrides, "trainer.max_epochs=2", "optimizer.lr=0.001")
    critic, generator = content(tmp_path)["optimizer_states"]
    assert {int(s["step"]) for s in critic["state"].values()} == {12}
    assert {int(s["step"]) for s in generator["state"].values()} == {4}
    assert critic["param_groups"][0]["lr"] == pytest.approx(0.01 * 0.25)
    assert generator["param_groups"][0]["lr"] == pytest.approx(0.001 * 0.25)


def test_a_plateau_lowers_both_rates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlzoo.tasks.gan.energy_distance", lambda x, y: torch.tensor(1.0))  # never better
    run(tmp_path, *FEW, "scheduler=plateau", "scheduler.patience=0", "optimizer.lr=1e-3", "trainer.max_epochs=3")
    rates = [state["param_groups"][0]["lr"] for state in content(tmp_path)["optimizer_states"]]
    assert rates == pytest.approx([1e-5, 1e-5])


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=gan", "net.generator=[16]", "net.discriminator=[16]", "scheduler=exponential"],
        ["model=dcgan", "net.width=4", "trainer.accumulate_grad_batches=2", "trainer.gradient_clip_val=1.0"],
        ["model=wgan_gp", "net.width=4", "scheduler=exponential", "scheduler.warmup=1"],
        ["model=cgan", "net.generator=[16]", "net.discriminator=[16]", "trainer.precision=bf16-mixed"],
    ],
)
def test_a_resumed_run_equals_an_uninterrupted_one(overrides: list[str], tmp_path: Path) -> None:
    overrides = [*overrides, "trainer.limit_train_batches=7"]
    whole, parts = whole_and_parts(tmp_path, *overrides)
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        assert same(whole[key], parts[key]), key


def test_the_best_checkpoint_has_the_smallest_distance(tmp_path: Path) -> None:
    results = run(tmp_path, "model=gan", "trainer.max_epochs=4", "trainer.limit_train_batches=20", "optimizer.lr=3e-3")
    with (tmp_path / "metrics.csv").open() as file:
        distances = [float(row["val/energy_distance"]) for row in csv.DictReader(file)]
    assert content(tmp_path, "best")["epoch"] == distances.index(min(distances))
    assert content(tmp_path, "last")["epoch"] == 3
    assert results["checkpoints"]["best"].endswith("best.ckpt")


def test_logged_steps_are_those_of_training(tmp_path: Path) -> None:
    """Of every model: the steps that were taken before."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(tmp_path, *FEW, "logger=tensorboard", "trainer.log_every_n_steps=3")
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [e.step for e in events.Scalars("train/generator_loss_step")] == [0, 3, 6, 9]


@pytest.mark.parametrize(
    ("overrides", "fused"),
    [
        (["trainer.precision=16-mixed"], None),
        (["trainer.precision=bf16-mixed", "trainer.gradient_clip_val=1"], None),
        (["trainer.precision=bf16-mixed"], True),
        (["trainer.gradient_clip_val=1"], True),
    ],
)
def test_fused_optimizers_are_used_where_they_can_be(overrides: list[str], fused: bool | None) -> None:
    given = RunConfig.from_hydra(config.compose(["model=gan", *overrides]))
    used = training_trainer.with_safe_optimizer(given)
    assert used.optimizer["fused"] is used.to_plain()["optimizer"]["fused"] is fused
    assert given.optimizer["fused"] is True


def test_it_learns_digits(tmp_path: Path) -> None:
    results = run(tmp_path, "model=gan", "trainer.max_epochs=12", "optimizer.lr=1e-3", "data.batch_size=64")["metrics"]
    assert results["test/energy_distance"] < 0.4  # 3 at the start
    assert 0 < results["train/d_fake"] < results["train/d_real"] < 1


# Warnings


def told(real: float, fake: float, loss: Any = "bce") -> list[str]:
    task = Adversarial(Small(SPEC), SPEC, loss=loss)
    task._trainer = type("T", (), {"training": True, "loggers": [], "log_every_n_steps": 1, "global_step": 0})()
    task.log_step(1, d_real=torch.tensor(real), d_fake=torch.tensor(fake))
    return [problem.partition(":")[0] for problem in task.diagnostics()]


def test_a_winning_or_failing_discriminator_is_reported() -> None:
    assert told(0.999, 0.001) == ["the discriminator wins"]
    assert told(0.5, 0.5) == ["the discriminator fails"]
    assert told(0.7, 0.3) == told(math.nan, math.nan) == told(5.0, 5.0, "wasserstein") == []


def test_a_run_reports_a_winning_discriminator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ("task.discriminator_lr=3e-3", "optimizer.lr=1e-9", "trainer.limit_train_batches=1.0", "net.dropout=0")
    run(tmp_path, *FEW, *overrides, "trainer.max_epochs=8", "callbacks=[checkpoint,problems]")
    output = capsys.readouterr().err
    assert output.count("the discriminator wins") == 1
    assert "lower task.discriminator_lr" in output


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["task.discriminator_steps=0"], "task.discriminator_steps=0"),
        (["task.loss=hinge", "task.label_smoothing=0.1"], "requires task.loss=bce"),
        (["task.loss=hing"], "did you mean 'hinge'"),
    ],
)
def test_wrong_options(overrides: list[str], message: str, train: Callable[..., Any]) -> None:
    done = train("model=gan", *overrides)
    assert done.code == 2
    assert message in done.err


def test_a_conditional_gan_rejects_regression_data() -> None:
    from dlzoo.tasks.gan import ConditionalAdversarial

    assert ConditionalAdversarial.targets == (Classes,)
    with pytest.raises(UserError):
        Adversarial(Small(SPEC), SPEC, discriminator_steps=0)
