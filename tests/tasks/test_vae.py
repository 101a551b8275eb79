"""Variational autoencoders: the bound by definition, the likelihood by integration, reproducible and resumed runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from picture_runs import content, run, same, whole_and_parts
from torch import Tensor, nn
from torch.distributions import Bernoulli, Normal, kl_divergence

from dlzoo.distributed.noise import GeneratorNoise
from dlzoo.errors import RunFailed, UserError
from dlzoo.nets.cvae import CVAE
from dlzoo.nets.vae import VAE
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.targets import Classes
from dlzoo.tasks.vae import ConditionalVAE, VariationalAutoencoder, cross_entropy, gaussian_kl

SPEC = ImageSpec(1, 4, 4, Classes(("a", "b")))


def bits(num: int) -> Tensor:
    return torch.bernoulli(torch.full((num, 1, 4, 4), 0.3))


def task_of(latent_dim: int = 3, **options: Any) -> VariationalAutoencoder:
    task = VariationalAutoencoder(VAE(SPEC, hidden=[8], latent_dim=latent_dim), SPEC, **options)
    for p in task.net.parameters():
        p.data.mul_(2)  # away from a flat posterior
    return task.eval()


def test_the_kl_is_that_of_two_gaussians() -> None:
    mean, log_var = torch.randn(5, 3), torch.randn(5, 3)
    expected = kl_divergence(Normal(mean, (log_var / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(gaussian_kl(mean, log_var), expected)


def test_the_cross_entropy_of_bits_is_their_log_likelihood() -> None:
    logits, x = torch.randn(5, 1, 4, 4), bits(5)
    expected = -Bernoulli(logits=logits).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(cross_entropy(logits, x), expected)


@torch.no_grad()
def test_the_bound_is_a_mean_over_latents() -> None:
    task, x = task_of(), bits(4)
    y = torch.zeros(4, dtype=torch.long)
    mean, log_var = task.net.encode(x)
    drawn = torch.randn(20_000, 4, 3) * (log_var / 2).exp() + mean
    logits = task.net.decode(drawn.flatten(0, 1)).view(20_000, 4, -1)
    expected = -Bernoulli(logits=logits).log_prob(x.flatten(1)).sum(-1).mean(0)
    results = torch.stack([task.bound(x, y, GeneratorNoise())[0] for _ in range(4000)]).mean(0)
    torch.testing.assert_close(results, expected, atol=0.15, rtol=0.02)
    kl = kl_divergence(Normal(mean, (log_var / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(task.bound(x, y, GeneratorNoise())[1], kl)


@torch.no_grad()
def test_the_importance_weighted_estimate_tends_to_the_likelihood() -> None:
    """With a one-dimensional latent, p(x) is an integral that a sum over a fine grid gives."""
    task, x = task_of(latent_dim=1, num_importance_samples=20_000), bits(6)
    y = torch.zeros(6, dtype=torch.long)
    grid = torch.linspace(-8, 8, 8001)[:, None]
    log_px = Bernoulli(logits=task.net.decode(grid).flatten(1)[:, None]).log_prob(x.flatten(1)).sum(-1)
    exact = -torch.logsumexp(log_px + Normal(0.0, 1.0).log_prob(grid), 0) - math.log(16 / 8000)
    torch.testing.assert_close(task.importance_nll(x, y, GeneratorNoise()), exact, atol=0.05, rtol=0)
    bound = torch.stack(
        [sum(part.reshape(6, -1).sum(1) for part in task.bound(x, y, GeneratorNoise())[:2]) for _ in range(2000)]
    ).mean(0)
    assert (bound > exact).all()
    task.num_importance_samples = 1
    one = torch.stack([task.importance_nll(x, y, GeneratorNoise()) for _ in range(2000)]).mean(0)
    torch.testing.assert_close(one, bound, atol=0.2, rtol=0)  # with one code it is the bound


def test_pixels_are_binarized_by_brightness() -> None:
    task = task_of(binarize="dynamic")
    x = torch.rand(1, 1, 4, 4).expand(4000, -1, -1, -1)
    drawn = task.pixels(x, GeneratorNoise())
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(drawn.mean(0), x[0], atol=0.05, rtol=0)
    assert not torch.equal(drawn, task.pixels(x, GeneratorNoise()))
    assert task_of().pixels(x, GeneratorNoise()) is x


@pytest.mark.parametrize(("epoch", "batch", "factor"), [(0, 0, 0.0), (1, 5, 1.5), (3, 9, 2.0)])
def test_kl_warmup(epoch: int, batch: int, factor: float) -> None:
    task = task_of(beta=2.0, kl_warmup=2.0)
    task._trainer = type("T", (), {"num_training_batches": 10, "current_epoch": epoch})()
    assert task.kl_factor(batch) == pytest.approx(factor)


def test_beta_weighs_the_kl_in_the_loss_alone(tmp_path: Path) -> None:
    metrics = run(tmp_path, "model=vae", "task.beta=3", "task.num_importance_samples=5")["metrics"]
    assert metrics["test/neg_elbo"] == pytest.approx(metrics["test/reconstruction"] + metrics["test/kl"], rel=1e-4)
    expected = metrics["test/reconstruction"] + 3 * metrics["test/kl"]
    assert metrics["test/loss"] == pytest.approx(expected, rel=1e-4)
    assert metrics["test/nll"] < metrics["test/neg_elbo"]


@pytest.mark.parametrize("name", ["vae", "conv_vae", "cvae"])
def test_it_learns(name: str, tmp_path: Path) -> None:
    results = run(tmp_path, f"model={name}", "trainer.max_epochs=8", "task.num_importance_samples=2")["metrics"]
    assert results["test/neg_elbo"] < 27.0  # each pixel at its mean costs 28.8 nats
    assert results["test/mse"] < 0.06
    assert results["test/active_units"] > 5


@pytest.mark.parametrize(
    "overrides", [["model=vae"], ["model=vae", "task.binarize=dynamic"], ["model=conv_autoencoder"]]
)
def test_a_resumed_run_draws_the_same_random_numbers(overrides: list[str], tmp_path: Path) -> None:
    overrides = [*overrides, "trainer.limit_train_batches=6", "scheduler=exponential"]
    whole, parts = whole_and_parts(tmp_path, *overrides)
    assert same(whole["state_dict"], parts["state_dict"])
    assert same(whole["optimizer_states"], parts["optimizer_states"])


def test_seeds_draw_different_noise(tmp_path: Path) -> None:
    overrides = ("model=vae", "trainer.limit_train_batches=3", "trainer.max_epochs=1", "task.num_importance_samples=1")
    weights = []
    for i, seed in enumerate((1, 1, 2)):
        run(tmp_path / str(i), *overrides, f"seed={seed}", "data.seed=0")
        weights.append(content(tmp_path / str(i))["state_dict"])
    assert same(weights[0], weights[1])
    assert not same(weights[0], weights[2])


def test_posterior_collapse_is_reported_with_a_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ("model=vae", "task.beta=300", "net.latent_dim=4", "callbacks=[checkpoint,problems]")
    results = run(tmp_path, *overrides, "task.num_importance_samples=1", "trainer.max_epochs=4")
    assert results["metrics"]["test/active_units"] == 0
    output = capsys.readouterr().err
    assert "posterior collapse: 4 of 4 latent units carry less than 0.01 nats" in output
    assert "task.kl_warmup=5" in output
    assert "task.beta=300" in output
    assert output.count("posterior collapse") == 1
    assert "posterior collapse" in (tmp_path / "warnings.txt").read_text()


def test_no_warning_without_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, "model=vae", "net.latent_dim=2", "callbacks=[checkpoint,problems]", "task.num_importance_samples=1")
    assert "warning" not in capsys.readouterr().err
    assert not (tmp_path / "warnings.txt").exists()


def test_non_finite_values_end_the_run(tmp_path: Path) -> None:
    overrides = ("model=vae", "optimizer=sgd", "optimizer.lr=1e12", "callbacks=checkpoint")
    with pytest.raises(RunFailed, match="the loss is "):
        run(tmp_path, *overrides, "trainer.max_epochs=5", "task.num_importance_samples=1")


def test_a_non_finite_mean_ends_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics alongside a finite loss."""
    track = VariationalAutoencoder.log_step

    def spoilt(self: VariationalAutoencoder, count: int, **means: torch.Tensor) -> None:
        track(self, count, **means, measured=torch.tensor(float("nan")))

    monkeypatch.setattr(VariationalAutoencoder, "log_step", spoilt)
    overrides = ("model=vae", "callbacks=[checkpoint,problems]", "task.num_importance_samples=1")
    assert run(tmp_path, *overrides, "trainer.max_epochs=5")["epochs"] == 1
    assert "train/measured is nan in epoch 1, so training stops" in (tmp_path / "warnings.txt").read_text()


def test_a_conditional_vae_accepts_soft_labels() -> None:
    task = ConditionalVAE(CVAE(SPEC), SPEC)
    soft = torch.tensor([[0.3, 0.7]])
    assert torch.equal(task.condition(soft), soft)  # type: ignore[arg-type]
    assert task.condition(torch.tensor([1, 0])).tolist() == [[0.0, 1.0], [1.0, 0.0]]  # type: ignore[union-attr]
    assert task_of().condition(torch.tensor([1])) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": -1}, "task.beta=-1"),
        ({"kl_warmup": -1}, "task.kl_warmup=-1"),
        ({"num_importance_samples": 0}, "between 1 and 20,000"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        task_of(**options)


def test_a_batch_of_half_precision_is_measured_in_full(tmp_path: Path) -> None:
    overrides = ("model=vae", "trainer.precision=bf16-mixed", "task.num_importance_samples=1")
    metrics = run(tmp_path, *overrides)["metrics"]
    assert 20 < metrics["test/neg_elbo"] < 29
    assert isinstance(VAE(SPEC), nn.Module)
