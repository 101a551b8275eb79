"""Autoencoders: penalties by their definitions, noise, layer-wise pretraining, comparison with PCA."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from picture_runs import content, resume, run, same
from torch import Tensor

from dlzoo.callbacks import linear_probe as codes
from dlzoo.config.compose import compose
from dlzoo.data.images.digits import Digits
from dlzoo.distributed.noise import GeneratorNoise
from dlzoo.errors import SpecError, UserError
from dlzoo.nets.autoencoder import Autoencoder
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.targets import Classes
from dlzoo.tasks.autoencoder import Autoencoding, bernoulli_kl, errors, jacobian_norm
from dlzoo.tasks.corruption import NoiseName, corruption
from dlzoo.tasks.stacked_autoencoder import StackedAutoencoding

SPEC = ImageSpec(1, 4, 4, Classes(("a", "b")))


def seeded(seed: int) -> GeneratorNoise:
    return GeneratorNoise(torch.Generator().manual_seed(seed))


# Noise


@pytest.mark.parametrize("name", [name for name in get_args(NoiseName) if name != "none"])
def test_noise_repeats_with_its_seed_and_stays_in_bounds(name: Any) -> None:
    corrupt, x = corruption(name, 0.4), torch.rand(50, 3, 8, 8)
    once, again, other = (corrupt(x, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert 0 <= once.min() <= once.max() <= 1
    assert not torch.equal(corrupt(x, GeneratorNoise()), corrupt(x, GeneratorNoise()))


def test_each_noise_matches_its_definition() -> None:
    grey, x = torch.full((200, 1, 16, 16), 0.5), torch.full((200, 3, 16, 16), 0.3)
    assert corruption("gaussian", 0.1)(grey, seeded(0)).std().item() == pytest.approx(0.1, rel=0.02)
    spread = corruption("uniform", 0.2)(grey, seeded(0))
    assert (spread.min().item(), spread.max().item()) == pytest.approx((0.3, 0.7), abs=1e-3)
    masked = corruption("masking", 0.25)(x, seeded(0))
    assert (masked == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert torch.equal(masked[:, 0] == 0, masked[:, 2] == 0)  # a pixel is lost in all its channels
    salted = corruption("salt_and_pepper", 0.4)(x, seeded(0))
    for value in (0.0, 1.0):
        assert (salted == value).float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert corruption("none", 0.5)(x, GeneratorNoise()) is x


@pytest.mark.parametrize(("name", "level"), [("gaussian", -1), ("masking", 1.5), ("gausian", 0.5)])
def test_invalid_noise(name: Any, level: float) -> None:
    with pytest.raises(UserError, match=r"task\.noise"):
        corruption(name, level)


# Errors


def test_errors_by_hand() -> None:
    """Two images of two pixels, predicted to be 1/2 and 3/4 bright."""
    logits = torch.tensor([0.0, math.log(3)]).expand(2, 2).view(2, 1, 1, 2)
    results = errors(logits, torch.tensor([[0.0, 1.0], [0.5, 0.75]]).view(2, 1, 1, 2))
    quarters = math.log(4) - 0.75 * math.log(3)  # the entropy of 3/4
    assert results["mse"].tolist() == pytest.approx([(1 / 4 + 1 / 16) / 2, 0])
    assert results["bce"].tolist() == pytest.approx([(math.log(2) + math.log(4 / 3)) / 2, (math.log(2) + quarters) / 2])


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_metrics_are_means_over_images_and_the_loss_is_the_one_of_its_name(loss: Any) -> None:
    task, x = task_of(loss=loss).eval(), torch.rand(4, 1, 4, 4)
    logged: dict[str, float] = {}
    task.log_dict = lambda metrics: logged.update({k: v.item() for k, v in metrics.items()})  # type: ignore[method-assign]
    with torch.no_grad():
        logits = task.net.decode(task.net.encode(x))
        expected = errors(logits, x)
        for part in x.split(3):
            results = task.validation_step((part, torch.zeros(len(part))), 0)
        task.log_split("val")
        assert task.loss(logits, x).item() == pytest.approx(expected[loss].mean().item())
    assert logged == pytest.approx(
        {f"val/{name}": expected[of].mean().item() for name, of in (("mse", "mse"), ("bce", "bce"), ("loss", loss))}
    )
    torch.testing.assert_close(results["error"], expected["mse"][3:])
    torch.testing.assert_close(results["code"], task.net.encode(x[3:]))
    torch.testing.assert_close(task.reconstruct(x), logits.sigmoid())
    with torch.no_grad():
        task.test_step((x[:1], torch.zeros(1)), 0)
        task.log_split("test")
    assert logged["test/mse"] == pytest.approx(expected["mse"][0].item()), "validation is forgotten"


# Penalties


def task_of(encoder: Any = (6,), code_activation: Any = "sigmoid", **options: Any) -> Autoencoding:
    net = Autoencoder(SPEC, encoder=encoder, decoder=None, code_activation=code_activation)
    return Autoencoding(net, SPEC, **options)


def test_the_jacobian_norm_estimate_is_unbiased() -> None:
    task, x = task_of(encoder=(9, 6)), torch.rand(3, 1, 4, 4).requires_grad_()
    exact = torch.stack(
        [torch.autograd.functional.jacobian(lambda v: task.net.encode(v[None])[0], one).square().sum() for one in x]
    )
    estimates = torch.stack([jacobian_norm(x, task.net.encode(x), GeneratorNoise()).detach() for _ in range(4000)])
    torch.testing.assert_close(estimates.mean(0), exact, rtol=0.1, atol=1e-3)


def test_penalties_match_their_definitions() -> None:
    x = torch.rand(7, 1, 4, 4).requires_grad_()
    task = task_of()
    h = task.net.encode(x)
    results = {
        name: float(task_of(**{name: 2.0}).penalty(x, h).detach())  # type: ignore[union-attr]
        for name in ("activity_l1", "activity_l2", "sparsity_weight")
    }
    mean = h.mean(0).detach()
    kl = 0.05 * (0.05 / mean).log() + 0.95 * (0.95 / (1 - mean)).log()
    expected = {
        "activity_l1": 2 * h.abs().mean(),
        "activity_l2": 2 * h.square().mean(),
        "sparsity_weight": 2 * kl.sum(),
    }
    assert results == pytest.approx({name: float(value) for name, value in expected.items()}, rel=1e-4)
    both = float(task_of(activity_l1=2.0, activity_l2=2.0).penalty(x, h).detach())  # type: ignore[union-attr]
    assert both == pytest.approx(results["activity_l1"] + results["activity_l2"])
    assert task_of().penalty(x, h) == 0


def test_a_silent_unit_has_a_finite_divergence() -> None:
    assert bernoulli_kl(0.05, torch.tensor([0.0, 1.0])).isfinite().all()
    assert bernoulli_kl(0.3, torch.tensor([0.3])).item() == pytest.approx(0, abs=1e-6)


def test_sparsity_needs_activations_in_the_unit_interval() -> None:
    with pytest.raises(UserError, match=r"net\.code_activation=sigmoid"):
        task_of(code_activation="relu", sparsity_weight=1.0)
    with pytest.raises(UserError, match=r"task\.sparsity=1"):
        task_of(sparsity=1.0)


@pytest.mark.parametrize(
    ("overrides", "weaker"),
    [
        (["task.sparsity_weight=0.1"], lambda h: (h - 0.05).abs().mean()),
        (["task.sparsity_weight=0", "task.activity_l1=1"], lambda h: h.abs().mean()),
        (["task.sparsity_weight=0", "task.activity_l2=1"], lambda h: h.square().mean()),
    ],
)
def test_activity_penalties_shrink_the_latent(overrides: list[str], weaker: Any, tmp_path: Path) -> None:
    common = ("model=sparse_autoencoder", "net.encoder=[32]", "trainer.max_epochs=4")
    measured = []
    for name, own in {"without": ["task.sparsity_weight=0"], "with": overrides}.items():
        run(tmp_path / name, *common, *own)
        measured.append(float(weaker(codes_of(tmp_path / name)[0])))
    assert measured[1] < 0.5 * measured[0]


def codes_of(folder: Path) -> tuple[Tensor, Any]:
    """Of the test images, with the last weights, and the task."""
    from dlzoo.checkpoint.load import load_task

    task, _ = load_task(folder / "checkpoints" / "last.ckpt")
    x = Digits(standardize=True).arrays("test").x / 255
    with torch.no_grad():
        return task.encode(x), task  # type: ignore[operator]


def test_contraction_reduces_the_jacobian(tmp_path: Path) -> None:
    norms = []
    for name, weight in {"without": 0.0, "with": 1e-2}.items():
        run(tmp_path / name, "model=contractive_autoencoder", f"task.contraction={weight}", "trainer.max_epochs=4")
        task = codes_of(tmp_path / name)[1]
        x = (Digits().arrays("test").x[:50] / 255).requires_grad_()
        norms.append(float(jacobian_norm(x, task.encode(x), GeneratorNoise()).mean().detach()))
    assert norms[1] < 0.5 * norms[0]


# Runs


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_the_loss_is_the_metric_of_its_name(loss: str, tmp_path: Path) -> None:
    metrics = run(tmp_path, "model=autoencoder", f"task.loss={loss}")["metrics"]
    assert metrics["test/loss"] == metrics[f"test/{loss}"]
    assert metrics["test/mse"] < 0.06
    assert metrics["test/bce"] > metrics["test/mse"]


def test_a_denoiser_is_measured_on_noisy_images(tmp_path: Path) -> None:
    overrides = ("model=denoising_autoencoder", "net.encoder=[256]", "trainer.max_epochs=10", "task.noise_level=0.3")
    metrics = run(tmp_path, *overrides)["metrics"]
    task = codes_of(tmp_path)[1]
    x = Digits().arrays("test").x / 255
    noisy = task.corrupt(x, seeded(3))
    with torch.no_grad():
        cleaned, plain = (float((task.reconstruct(t) - x).square().mean()) for t in (noisy, x))
    assert metrics["test/mse"] == pytest.approx(cleaned, rel=0.1)
    assert cleaned > 1.1 * plain
    assert cleaned < 0.75 * float((noisy - x).square().mean())  # it cleans


@pytest.mark.parametrize("name", ["autoencoder", "sparse_autoencoder", "contractive_autoencoder", "conv_autoencoder"])
def test_it_learns(name: str, tmp_path: Path) -> None:
    metrics = run(tmp_path, f"model={name}", "task.noise=none", "trainer.max_epochs=6", "optimizer.lr=3e-3")["metrics"]
    assert metrics["test/mse"] < 0.75 * 0.0732  # of each pixel at its mean


def test_layers_are_pretrained_one_by_one_then_jointly(tmp_path: Path) -> None:
    overrides = (
        "model=stacked_autoencoder",
        "net.encoder=[32,16]",
        "task.pretrain_epochs=1",
        "trainer.limit_train_batches=5",
    )
    run(tmp_path / "a", *overrides, "trainer.max_epochs=1")
    weights = [content(tmp_path / "a")["state_dict"]]
    for epochs in (2, 3):
        resume(tmp_path / "a", f"trainer.max_epochs={epochs}")
        weights.append(content(tmp_path / "a")["state_dict"])

    def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
        names = (name for name in before if name.startswith("net.") and not torch.equal(before[name], after[name]))
        return {".".join(name.split(".")[1:3]) for name in names}

    assert moved(weights[0], weights[1]) == {"encoder.1", "decoder.0"}
    assert moved(weights[1], weights[2]) == {"encoder.0", "encoder.1", "decoder.0", "decoder.1"}
    run(tmp_path / "b", *overrides, "trainer.max_epochs=3")
    assert same(content(tmp_path / "b")["state_dict"], weights[2])


def test_a_layer_reconstructs_the_features_below(tmp_path: Path) -> None:
    net = Autoencoder(SPEC, encoder=[6, 3], decoder=None)
    task = StackedAutoencoding(net, SPEC, pretrain_epochs=1)
    shown: dict[str, float] = {}
    task._trainer = type("T", (), {"current_epoch": 1})()
    task.log_step = lambda count, **means: shown.update(means)  # type: ignore[method-assign]
    x = torch.rand(5, 1, 4, 4)
    loss = task.training_step((x, torch.zeros(5)), 0)
    h = net.encoder[0](x.flatten(1))
    torch.testing.assert_close(loss, (net.decoder[0](net.encoder[1](h)) - h).square().mean())
    loss.backward()
    assert all(p.grad is None for part in (net.encoder[0], net.decoder[1]) for p in part.parameters())


@pytest.mark.parametrize("decoder", [[5], [6, 6], []])
def test_a_stack_needs_a_mirror(decoder: Any) -> None:
    with pytest.raises(SpecError, match=r"net\.decoder=null"):
        StackedAutoencoding(Autoencoder(SPEC, encoder=[6, 3], decoder=decoder), SPEC)


def test_a_run_too_short_for_joint_training_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, "model=stacked_autoencoder", "net.encoder=[8,4]", "callbacks=[checkpoint,problems]")
    assert "the whole net is never trained: pretraining takes 6 epochs" in capsys.readouterr().err


# Codes beside PCA


def test_the_baseline_is_pca_of_the_training_images(tmp_path: Path) -> None:
    overrides = ("model=autoencoder", "net.encoder=[7]", "net.decoder=[]", "callbacks=[checkpoint,codes]")
    metrics = run(tmp_path, *overrides)["metrics"]
    data = Digits(standardize=True)
    train, test = ((data.arrays(split).x / 255).flatten(1).double().numpy() for split in ("train", "test"))
    mean = train.mean(0)
    _, _, axes = np.linalg.svd(train - mean, full_matrices=False)
    generated = (test - mean) @ axes[:7].T @ axes[:7] + mean
    assert metrics["baseline/mse_pca"] == pytest.approx(np.square(generated.clip(0, 1) - test).mean(), rel=1e-3)
    assert 0.8 < metrics["baseline/probe_accuracy_pca"] < 0.95
    assert 0.5 < metrics["test/probe_accuracy"] < 0.99


def test_pca_is_given_the_noisy_image_of_a_denoiser(tmp_path: Path) -> None:
    overrides = ("net.encoder=[7]", "callbacks=[checkpoint,codes]", "trainer.max_epochs=1")
    clean, noisy = (
        run(tmp_path / noise, "model=denoising_autoencoder", f"task.noise={noise}", *overrides)["metrics"]
        for noise in ("none", "gaussian")
    )
    assert noisy["baseline/mse_pca"] > 1.2 * clean["baseline/mse_pca"]


def test_a_latent_as_large_as_the_image_has_no_baseline(tmp_path: Path) -> None:
    metrics = run(tmp_path, "model=autoencoder", "callbacks=[checkpoint,codes]", "trainer.max_epochs=1")["metrics"]
    assert "test/probe_accuracy" in metrics
    assert not [name for name in metrics if name.startswith("baseline/")]


def test_probe_accuracy_on_noise_and_on_labels() -> None:
    rng = np.random.default_rng(0)
    labels = [np.arange(400) % 4, np.arange(200) % 4]
    noise = [rng.normal(size=(len(y), 5)) for y in labels]
    assert codes.probe(noise, labels, 100) < 0.35
    assert codes.probe([np.eye(4)[y] + 0.1 * x[:, :4] for y, x in zip(labels, noise, strict=True)], labels, 100) == 1.0


def test_a_supervised_run_has_no_latents(tmp_path: Path) -> None:
    metrics = run(tmp_path, "model=mlp", "callbacks=[checkpoint,measures]", "trainer.max_epochs=1")["metrics"]
    assert not [name for name in metrics if "probe" in name or name.startswith("baseline/")]
    assert compose(["model=autoencoder"]).callbacks.codes
