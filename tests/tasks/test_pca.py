"""PCA: the singular value decomposition of the centred rows, against scikit-learn and its definition."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from picture_runs import content, resume, run, run_until, same
from sklearn.decomposition import PCA as Reference
from torch import Tensor

from dlzoo.checkpoint import load as checkpoint
from dlzoo.commands import encode, export, predict
from dlzoo.config import compose as config
from dlzoo.config import instantiate as build
from dlzoo.errors import UserError
from dlzoo.nets.pca import PCA
from dlzoo.specs.inputs import Column, ImageSpec, TableSpec
from dlzoo.specs.targets import Classes, Values
from dlzoo.tasks import pca as steps
from dlzoo.tasks.pca import PrincipalComponents


def fitted(folder: Path, *overrides: str) -> tuple[Any, Tensor, Tensor]:
    """The task of a run's checkpoint, and the raw training rows and those that its net sees, (N, F)."""
    run(folder, "model=pca", *overrides)
    task: Any = checkpoint.load_task(folder / "checkpoints" / "last.ckpt")[0]
    data = build.build_data(config.compose(["model=pca", *overrides]).data)
    data.prepare_data()
    data.setup("fit")
    x = data.arrays("train").x
    x = x.float() / 255 if x.dtype == torch.uint8 else x
    return task, x, task.standardize(x).flatten(1).double()


@pytest.mark.parametrize(
    "overrides",
    [
        ("data=iris", "data.standardize=false", "net.num_components=3"),
        ("data=wine", "data.standardize=false", "net.num_components=13"),
        ("data=digits", "net.num_components=20"),
    ],
    ids=["iris", "wine", "digits"],
)
def test_it_equals_scikit_learn(overrides: tuple[str, ...], tmp_path: Path) -> None:
    """Components, variances, scores and reconstructions, with the signs that scikit-learn gives them."""
    task, raw, rows = fitted(tmp_path, *overrides)
    reference = Reference(len(task.net.components)).fit(rows.numpy())
    scores = reference.transform(rows.numpy())
    scale = max(1.0, np.abs(scores).max())
    np.testing.assert_allclose(task.net.components.detach(), reference.components_, atol=1e-5)
    found = task.net.variances[: len(task.net.components)]
    np.testing.assert_allclose(found, reference.explained_variance_, rtol=1e-5)
    with torch.no_grad():
        np.testing.assert_allclose(task.encode(raw), scores, atol=1e-5 * scale)
        decoded = task.standardize(task.decode(task.encode(raw))).flatten(1)
    assert decoded.shape == rows.shape
    if task.spec.images is None:
        np.testing.assert_allclose(decoded, reference.inverse_transform(scores), atol=1e-5 * scale)


def test_scores_are_those_of_the_singular_value_decomposition(tmp_path: Path) -> None:
    """Y = U Σ, and the squared error of the training rows is the variance along the components that are dropped."""
    task, raw, rows = fitted(tmp_path, "data=iris", "net.num_components=2")
    u, sigma, _ = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    with torch.no_grad():
        scores = task.encode(raw)
    torch.testing.assert_close(scores.abs().double(), (u * sigma)[:, :2].abs(), atol=1e-5, rtol=1e-5)
    with (tmp_path / "metrics.csv").open() as file:
        *_, epoch = csv.DictReader(file)
    assert float(epoch["train/loss"]) == pytest.approx(float(sigma[2:].square().sum() / rows.numel()), rel=1e-5)
    assert float(epoch["train/explained_variance"]) == pytest.approx(
        float(sigma[:2].square().sum() / sigma.square().sum()), rel=1e-5
    )


def test_products_in_single_precision_do_not_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows far from the origin, in several blocks, with weights; a row of weight two counts like two rows."""
    monkeypatch.setattr(steps, "MAX_DOUBLE_FEATURES", 1)
    spec = TableSpec(tuple(map(Column, "abc")), Values(("y",)))
    task: Any = PrincipalComponents(PCA(spec, num_components=3), spec)
    task.log_step = lambda *_, **__: None
    draw = torch.Generator().manual_seed(0)
    x = 1000 + torch.randn(300, 3, generator=draw) * torch.tensor([3.0, 2.0, 0.5])
    weight = torch.randint(1, 3, (300, 1), generator=draw).float()
    with torch.no_grad():
        for part in torch.cat([x, weight], 1).split(77):
            task.add_rows(part[:, :-1], part[:, -1:])
        task.decompose(*task.total_statistics())
    repeated = x.double().repeat_interleave(weight[:, 0].long(), 0).numpy()
    reference = Reference(3).fit(repeated)
    np.testing.assert_allclose(task.net.components.detach(), reference.components_, atol=2e-5)
    np.testing.assert_allclose(task.net.variances, reference.explained_variance_, rtol=1e-4)


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of the only epoch, with sums and with rows that are not in them yet."""
    monkeypatch.setattr(steps, "BLOCK", 50)
    overrides = ("model=pca", "data=iris", "data.batch_size=16")
    run(tmp_path / "whole", *overrides)
    run_until(PrincipalComponents, (0, 6), tmp_path / "parts", *overrides)
    carried = content(tmp_path / "parts")["continuation"]["ranks"][0]["carried"]
    assert carried["waiting"]
    assert carried["statistics"] is not None
    resume(tmp_path / "parts")
    assert same(content(tmp_path / "whole")["state_dict"], content(tmp_path / "parts")["state_dict"])


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The scores of new rows of a table, the codes of data, and an export, which is verified."""
    run(tmp_path, "model=pca", "data=iris", "callbacks=[checkpoint,components]")
    ckpt = f"ckpt={tmp_path / 'checkpoints' / 'last.ckpt'}"
    (tmp_path / "rows.csv").write_text("sepal_length,sepal_width,petal_length,petal_width\n5.1,3.5,1.4,0.2\n")
    capsys.readouterr()
    predict.command([ckpt, f"input={tmp_path / 'rows.csv'}"])
    assert "component_1" in capsys.readouterr().out
    encode.command([ckpt, f"output={tmp_path / 'codes.npz'}"])
    codes = np.load(tmp_path / "codes.npz")
    assert codes["codes"].shape == (30, 2)
    export.command([ckpt, f"output={tmp_path / 'net.onnx'}"])
    assert (tmp_path / "net.onnx").is_file()
    assert {path.name for path in tmp_path.glob("*.png")} >= {
        "components.png",
        "explained_variance.png",
        "latent_space.png",
    }


def test_images_are_reconstructed(tmp_path: Path) -> None:
    results = run(tmp_path, "model=pca", "data=digits", "net.num_components=64", "callbacks=[checkpoint,generative]")
    assert results["metrics"]["test/mse"] < 1e-10, "all components"
    assert results["metrics"]["test/explained_variance"] == pytest.approx(1, abs=1e-5)
    assert (tmp_path / "reconstructions.png").is_file()


def table(folder: Path, rows: list[str]) -> tuple[str, ...]:
    path = folder / "table.csv"
    path.write_text("\n".join(["a,b,c,kind", *rows]) + "\n")
    return ("data=csv", f"data.path={path}", "data.target=kind")


def test_constant_columns_and_duplicates_have_no_weight(tmp_path: Path) -> None:
    rows = [f"{i % 7},{(i * 3) % 5},2020,{'xy'[i % 2]}" for i in range(40)] * 2
    task, _, seen = fitted(tmp_path, *table(tmp_path, rows), "data.standardize=false", "net.num_components=2")
    assert task.net.components[:, 2].abs().max() < 1e-5
    reference = Reference(2).fit(seen.numpy())
    np.testing.assert_allclose(task.net.components.detach(), reference.components_, atol=1e-5)


def test_bad_input(tmp_path: Path) -> None:
    alike = table(tmp_path, [f"1,2,3,{'xy'[i % 2]}" for i in range(20)])
    for overrides, message in (
        (("data=iris", "net.num_components=5"), "net.num_components=5: give 1 to 4, the number of features"),
        (("data=iris", "net.num_components=0"), "net.num_components=0: give 1 to 4"),
        (("data=digits", "net.num_components=60", "data.train_per_class=5"), "but there are 50 training rows"),
        (("data=iris", "optimizer=adam"), "optimizer: PrincipalComponents learns without an optimizer"),
        (("data=iris", "trainer.accumulate_grad_batches=2"), "make one step of PCA"),
        (alike, "the training rows are all alike"),
    ):
        with pytest.raises(UserError, match=message):
            run(tmp_path / "run", "model=pca", *overrides)
    large = ImageSpec(3, 96, 96, Classes(("a", "b")))
    with pytest.raises(UserError, match="inputs of 27,648 features need a covariance of 6 GB"):
        PrincipalComponents(PCA(large), large)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("statistics", (torch.zeros(1),)),
        ("statistics", torch.zeros(4)),
        ("waiting", (torch.zeros(2, 2),)),
        ("waiting", (None,)),
    ],
)
def test_what_a_checkpoint_carries_must_be_of_these_features(name: str, value: Any) -> None:
    flowers = TableSpec(tuple(map(Column, "abcd")), Classes(("p", "q")))
    task = PrincipalComponents(PCA(flowers), flowers)
    sums = (torch.zeros(()), torch.zeros(()), torch.zeros(4), torch.zeros(4, 4))
    assert task.carried_state_mismatch("statistics", sums) is None
    assert task.carried_state_mismatch("waiting", (torch.zeros(3, 4), torch.zeros(3, 1))) is None
    assert task.carried_state_mismatch(name, value) is not None
