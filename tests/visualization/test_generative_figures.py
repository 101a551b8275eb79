"""Output of generative runs: animations, grids, latents, curves, and the same in TensorBoard."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from picture_runs import resume, run
from PIL import Image, ImageSequence
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dlzoo.callbacks import latent_report as generative
from dlzoo.callbacks import sample_animation as film
from dlzoo.checkpoint.load import load_task
from dlzoo.data.images.digits import Digits
from dlzoo.metrics import reference_classifier as ruler
from dlzoo.metrics.examples import BalancedSample
from dlzoo.visualization import image_grid as tiles
from dlzoo.visualization import latent as latent_plots

ALL = ("logger=tensorboard", "trainer.limit_train_batches=8", "task.num_importance_samples=1")
VAE = ("model=vae", *ALL, "callbacks=[history,checkpoint,film,generative]")


def frames(path: Path) -> list[np.ndarray]:
    with Image.open(path) as gif:
        return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(gif)]


def pixels(path: Path) -> np.ndarray:
    return tiles.read_png(path)


def images(folder: Path) -> dict[str, int]:
    """How often each image was written to TensorBoard."""
    events = EventAccumulator(str(folder), size_guidance={"images": 0})
    events.Reload()
    return {tag: len(events.Images(tag)) for tag in events.Tags()["images"]}


# Films


def test_the_animation_changes(tmp_path: Path) -> None:
    run(tmp_path, *VAE, "trainer.max_epochs=3")
    shot = frames(tmp_path / "samples.gif")
    assert len(shot) == 4  # before training, and after each epoch
    for before, after in itertools.pairwise(shot):
        assert np.abs(before.astype(int) - after).mean() > 1
    assert images(tmp_path)["samples"] == 5  # and once more in the test
    assert images(tmp_path)["reconstructions"] == 4


def test_a_resumed_run_continues_its_animation(tmp_path: Path) -> None:
    run(tmp_path, *VAE, "trainer.max_epochs=1")
    first = frames(tmp_path / "samples.gif")
    resume(tmp_path, "trainer.max_epochs=3", f"output_dir={tmp_path}")
    longer = frames(tmp_path / "samples.gif")
    assert (len(first), len(longer)) == (2, 4)
    assert all(np.array_equal(a, b) for a, b in zip(first, longer, strict=False))


def test_a_new_run_in_an_old_folder_starts_a_new_animation(tmp_path: Path) -> None:
    run(tmp_path, *VAE, "trainer.max_epochs=3")
    run(tmp_path, *VAE, "trainer.max_epochs=1")
    assert len(frames(tmp_path / "samples.gif")) == 2


def test_each_frame_names_its_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captions: list[str] = []
    add = tiles.captioned
    monkeypatch.setattr(tiles, "captioned", lambda frame, text: (captions.append(text), add(frame, text))[1])
    run(tmp_path, *VAE, "trainer.max_epochs=2")
    assert captions == ["epoch 0", "epoch 1", "epoch 2"]
    stored = pixels(tmp_path / "film" / "epoch_00001.png")
    frame = frames(tmp_path / "samples.gif")[1]
    text = frame[: frame.shape[0] - stored.shape[0]]
    assert frame.shape[1] == stored.shape[1]
    assert text.min() < 100  # ink
    assert text.max() == 255


def test_a_film_shows_every_class_of_sorted_validation_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[torch.Tensor] = []
    draw = film.reconstructions
    monkeypatch.setattr(film, "reconstructions", lambda task, x, y: (shown.append(y), draw(task, x, y))[1])
    load = Digits.load

    def sorted_rows(self: Digits, split: Any) -> Any:
        rows = load(self, split)
        return rows.take(rows.y.argsort(stable=True))

    monkeypatch.setattr(Digits, "load", sorted_rows)
    words = (
        "model=autoencoder",
        "net.encoder=[4]",
        "callbacks=[film,generative,checkpoint]",
        "data.eval_batch_size=50",
    )
    run(tmp_path, *words, "trainer.max_epochs=2")
    first, second, tested = shown
    assert len(first) == 12
    assert sorted(first[:10].tolist()) == sorted(tested[:10].tolist()) == [*range(10)]
    assert torch.equal(first, second)  # the same images in each epoch


def test_a_long_run_has_about_forty_frames(tmp_path: Path) -> None:
    words = ("model=autoencoder", "net.encoder=[4]", "callbacks=[film]", "trainer.limit_train_batches=1")
    run(tmp_path, *words, "trainer.max_epochs=81", "trainer.limit_test_batches=1")
    numbers = [film.epoch_of(path) for path in film.frames_in(tmp_path)]
    assert numbers == [*range(2, 81, 2), 81]
    assert (tmp_path / "reconstructions.gif").is_file()


def test_the_animation_is_written_when_training_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dlzoo.tasks.vae import VariationalAutoencoder

    step = VariationalAutoencoder.training_step

    def fail(self: Any, batch: Any, batch_idx: int) -> Any:
        if self.current_epoch == 2:
            raise KeyError("broken")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(VariationalAutoencoder, "training_step", fail)
    with pytest.raises(KeyError):
        run(tmp_path, *VAE, "trainer.max_epochs=4")
    assert len(frames(tmp_path / "samples.gif")) == 3


def test_drawing_does_not_affect_the_run(tmp_path: Path) -> None:
    plain = run(tmp_path / "a", *VAE, "callbacks=[checkpoint]", "trainer.max_epochs=2")["metrics"]
    drawn = run(tmp_path / "b", *VAE, "callbacks=[checkpoint,film,generative]", "trainer.max_epochs=2")["metrics"]
    assert plain == drawn


# Pictures of a test


def test_a_vae_writes_its_figures(tmp_path: Path) -> None:
    run(tmp_path, *VAE, "net.latent_dim=2")
    names = {"samples", "reconstructions", "interpolation", "worst_reconstructions", "latent_space", "manifold"}
    assert names <= {path.stem for path in tmp_path.glob("*.png")}
    assert names <= images(tmp_path).keys()
    projector = (tmp_path / "projector_config.pbtxt").read_text()
    assert "codes/tensors.tsv" in projector
    (codes,) = tmp_path.glob("*/codes/tensors.tsv")
    assert len(codes.read_text().splitlines()) == 359
    (labels,) = tmp_path.glob("*/codes/metadata.tsv")
    assert set(labels.read_text().split()) == set("0123456789")


def test_figures_of_a_test_show_the_best_weights(tmp_path: Path) -> None:
    run(tmp_path, *VAE, "optimizer.lr=1e-2")
    task, _ = load_task(tmp_path / "checkpoints" / "best.ckpt")
    with torch.no_grad():
        assert np.array_equal(pixels(tmp_path / "samples.png"), film.samples(task, 100))  # type: ignore[arg-type]
        data, sample = Digits().arrays("test"), BalancedSample(2000)
        sample.add((data.x,), data.y)
        rows = sample.positions[:20]
        strip = film.reconstructions(task, data.x[rows] / 255, data.y[rows])  # type: ignore[arg-type]
    assert np.array_equal(pixels(tmp_path / "reconstructions.png"), strip)


def test_a_gan_writes_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLZOO_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setitem(ruler.RECIPE, "least_steps", 20)
    words = ("model=gan", "callbacks=default", "logger=tensorboard", "trainer.limit_train_batches=8")
    run(tmp_path / "run", *words, "callbacks.sample_quality.num_samples=50", "net.generator=[8]")
    names = {"samples", "interpolation", "adversaries", "sample_classes", "learning_curves", "training_batch"}
    assert names <= {path.stem for path in (tmp_path / "run").glob("*.png")}
    assert names <= images(tmp_path / "run").keys()
    assert len(frames(tmp_path / "run" / "samples.gif")) == 3


def test_a_denoiser_shows_its_inputs(tmp_path: Path) -> None:
    words = ("model=denoising_autoencoder", "net.encoder=[8]", "callbacks=[film,generative,checkpoint]")
    run(tmp_path, *words, "trainer.limit_train_batches=2", "trainer.max_epochs=1")
    side = 48 + tiles.GAP
    strip = pixels(tmp_path / "reconstructions.png")[-(3 * side + tiles.GAP) :, -(20 * side + tiles.GAP) :]
    rows = [strip[i * side + tiles.GAP : (i + 1) * side] for i in range(3)]
    sample = BalancedSample(2000)
    sample.add((Digits().arrays("test").x,), Digits().arrays("test").y)
    first = tiles.tile(sample.stacked()[0][:20] / 255, 20)[tiles.GAP : side]
    assert np.array_equal(rows[0], first)
    assert np.abs(rows[1].astype(int) - first).mean() > 10


@pytest.mark.parametrize("name", ["cvae", "cgan"])
def test_a_conditional_net_shows_a_column_for_each_class(name: str, tmp_path: Path) -> None:
    words = [f"model={name}", "trainer.limit_train_batches=2", "callbacks=[film,generative,checkpoint]"]
    run(tmp_path, *words, "trainer.max_epochs=1")
    side = 48 + tiles.GAP
    assert pixels(tmp_path / "samples.png").shape == (10 * side + tiles.GAP + tiles.LINE, 10 * side + tiles.GAP, 3)
    task, _ = load_task(tmp_path / "checkpoints" / "best.ckpt")
    with torch.no_grad():
        code = task.draw(10, film.SEED)[:1]  # type: ignore[operator]
        seven = task.decode(code, torch.tensor([7]))  # type: ignore[operator]
        grid = film.samples(task, 100)  # type: ignore[arg-type]
    expected = tiles.tile(seven, 1)[tiles.GAP : side, tiles.GAP : side].astype(int)
    found = grid[tiles.LINE :][tiles.GAP : side, tiles.GAP + 7 * side : 8 * side]
    assert np.abs(found - expected).max() <= 1  # the last bit depends on the size of the batch


def test_interpolation_starts_and_ends_with_the_images() -> None:
    starts, ends = generative.pairs(torch.tensor([3, 3, 1, 3, 2]), 6)
    assert starts.tolist() == [0, 1, 2, 3]
    assert ends.tolist() == [2, 2, 3, 4]
    assert generative.pairs(torch.zeros(3, dtype=torch.long), 1)[1].tolist() == [1]  # there is no other class


def test_interpolating_latents_of_a_gan_keeps_their_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    from dlzoo.nets.gan import GAN
    from dlzoo.tasks.gan import Adversarial

    spec = Digits().declare()
    task = Adversarial(GAN(spec), spec).eval()
    seen: list[torch.Tensor] = []
    decode = task.decode
    monkeypatch.setattr(task, "decode", lambda codes, labels: (seen.append(codes), decode(codes, labels))[1])
    with torch.no_grad():
        generative.spherical_interpolation(task, num_rows=3, num_steps=5)
    ways = seen[0].view(3, 5, -1)
    first, last = task.draw(6, film.SEED).chunk(2)
    torch.testing.assert_close(ways[:, 0], first)
    torch.testing.assert_close(ways[:, -1], last, atol=1e-4, rtol=1e-4)
    lengths = ways.norm(dim=2)
    assert (lengths > 0.95 * lengths[:, [0, -1]].amin(1, keepdim=True)).all()


# Parts


def test_tiles_are_pixel_exact() -> None:
    x = torch.arange(2 * 3 * 50 * 60).view(2, 3, 50, 60) % 256 / 255
    grid = tiles.tile(x, 2)
    assert grid.shape == (50 + 2 * tiles.GAP, 2 * 60 + 3 * tiles.GAP, 3)
    for i in range(2):
        left = tiles.GAP + i * (60 + tiles.GAP)
        found = grid[tiles.GAP : tiles.GAP + 50, left : left + 60]
        assert np.array_equal(found, (x[i] * 255).round().byte().permute(1, 2, 0).numpy())
    small = tiles.tile(torch.tensor([[[[0.0, 1.0], [float("nan"), 2.0]]]]), 1)[
        tiles.GAP : -tiles.GAP, tiles.GAP : -tiles.GAP
    ]
    assert small.shape == (48, 48, 3)
    assert [small[a, b, 0] for a, b in ((0, 0), (0, 47), (47, 0), (47, 47))] == [0, 255, 0, 255]


def test_labels_stand_beside_their_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = tiles.tile(torch.rand(6, 1, 48, 48), 3)
    texts: list[tuple[float, float, str, str]] = []
    write = tiles.written
    monkeypatch.setattr(tiles, "written", lambda canvas, found: (texts.extend(found), write(canvas, found))[1])
    seen = tiles.labelled(grid, columns=["a", "a class with a long name", "c"], rows=["image", "copy"])
    margin = seen.shape[1] - grid.shape[1]
    assert np.array_equal(seen[tiles.LINE :, margin:], grid)
    assert [text for _, _, text, _ in texts] == ["a", "a clas…", "c", "image", "copy"]
    at = {text: (x, y) for x, y, text, _ in texts}
    step = 48 + tiles.GAP
    assert [at[name][0] - margin for name in "ac"] == pytest.approx(
        [tiles.GAP / 2 + step / 2, tiles.GAP / 2 + 2.5 * step]
    )
    assert at["copy"][1] - at["image"][1] == step
    assert seen[: tiles.LINE].min() < 100
    assert seen[tiles.LINE :, :margin].min() < 100
    assert (seen[tiles.LINE :, margin - tiles.GAP : margin] == 255).all()  # the longest name fits into the margin
    assert np.array_equal(tiles.labelled(grid), grid)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_contains_the_image(channels: int, tmp_path: Path) -> None:
    x = torch.rand(channels, 9, 7)
    (tmp_path / "x.png").write_bytes(tiles.png(tiles.pixels(x)))
    with Image.open(tmp_path / "x.png") as image:
        assert image.mode == ("L" if channels == 1 else "RGB")
        found = torch.from_numpy(np.asarray(image).copy())
    expected = (x * 255).round().byte()
    assert torch.equal(found if channels == 1 else found.permute(2, 0, 1), expected[0] if channels == 1 else expected)


@pytest.mark.parametrize("dims", [1, 2, 5])
@pytest.mark.parametrize("names", [("a", "b"), tuple(map(str, range(30))), ()])
def test_latents_are_plotted_for_every_kind_of_target(dims: int, names: tuple[str, ...]) -> None:
    codes = torch.randn(60, dims)
    labels = torch.arange(60) % len(names) if names else torch.rand(60, 2)
    figure = latent_plots.latent_space(codes, labels, names)
    drawn = sum(len(points.get_offsets()) for points in figure.axes[0].collections)
    assert drawn == 60


@pytest.mark.parametrize("num", [0, 1, 2, 5])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_odd_latents_end_no_run(num: int, value: float) -> None:
    codes = torch.cat([torch.full((3, 4), value), torch.randn(num, 4)])
    labels = torch.arange(len(codes)) % 2
    for names in (("a", "b"), ()):
        figure = latent_plots.latent_space(codes, labels if names else labels[:, None].float(), names)
        drawn = sum(len(points.get_offsets()) for points in figure.axes[0].collections)
        assert drawn == num + (3 if value == 0 else 0)


def test_two_dimensions_are_plotted_directly_and_more_by_pca() -> None:
    codes = torch.randn(200, 6) * torch.tensor([1.0, 9.0, 1.0, 1.0, 5.0, 1.0])
    assert torch.equal(latent_plots.planar(codes[:, :2])[0], codes[:, :2])
    points, axes = latent_plots.planar(codes)
    assert abs(np.corrcoef(points[:, 0], codes[:, 1])[0, 1]) > 0.98
    assert abs(np.corrcoef(points[:, 1], codes[:, 4])[0, 1]) > 0.95
    assert "of the variance" in axes[0]
