"""Pictures of training batches and of the first and the worst of the test."""

import pytest
import torch
from tiny_runs import CLASSES, VALUES, Foretold, Pictures, Tiny, events, make, picture

from dlzoo.callbacks.csv_history import History
from dlzoo.callbacks.graph import ModelGraph
from dlzoo.callbacks.prediction_grid import PredictionGrid
from dlzoo.callbacks.weight_histograms import WeightHistograms
from dlzoo.data.images.augment import Augment
from dlzoo.data.loaders import Arrays
from dlzoo.metrics.examples import worst


@pytest.mark.parametrize("target", [CLASSES, VALUES], ids=["classes", "values"])
def test_sample_pictures(tmp_path, target):
    augment = Augment(shift=0.2, mixup=0.4)
    trainer, task, data = make(tmp_path, PredictionGrid(), target=target, augment=augment, tensorboard=True)
    trainer.fit(task, data)
    trainer.test(task, data, verbose=False)
    for name in ("training_batch", "predictions"):
        assert picture(tmp_path / f"{name}.png")[2] > 0
    assert {"training_batch", "predictions"} <= set(events(tmp_path).Tags()["images"])


def test_sample_pictures_do_not_disturb_the_run(tmp_path):
    seen = []
    for callbacks in ([], [PredictionGrid()], [ModelGraph(), WeightHistograms(), History()]):
        trainer, task, data = make(tmp_path, *callbacks, augment=Augment(shift=0.2, flip=0.5), tensorboard=True)
        trainer.fit(task, data)
        seen.append([*task.seen, *task.parameters(), *task.buffers(), torch.rand(3)])
    assert all(torch.equal(a, b) for other in seen[1:] for a, b in zip(seen[0], other, strict=True))


def test_sample_pictures_show_each_class_and_the_worst(tmp_path, monkeypatch):
    shown = {}
    monkeypatch.setattr(
        "dlzoo.visualization.plots.predictions", lambda *args, **named: shown.update(args=args, **named) or figure()
    )
    trainer, _, data = make(tmp_path, PredictionGrid(num_first=5, num_mistakes=4))
    data.eval_batch_size = 13
    trainer.test(Tiny(data.spec, net=Foretold()), data, verbose=False)
    images, targets, _outputs, _names = shown["args"]
    stored = data.arrays("test").x
    rows = [(stored == image.mul(255).round().byte()).flatten(1).all(1).nonzero().item() for image in images[:5]]
    assert targets[:5].tolist() == [row % 3 for row in rows]
    assert sorted(targets[:3].tolist()) == [0, 1, 2]
    assert (targets[5:] != 0).all()
    assert len(targets) == 9
    # 60 = 4 * 13 + 8 pictures, the last of a batch is surest: rows 25, 38, 59 are wrong, and of the rest the surest
    rows = [(stored == image.mul(255).round().byte()).flatten(1).all(1).nonzero().item() for image in images[5:]]
    surety = {i: (i % 13) / ((13 if i < 52 else 8) - 1) for i in range(60) if i % 3}
    wanted = sorted(surety.values(), reverse=True)[:4]
    assert [surety[row] for row in rows] == pytest.approx(wanted)
    assert shown["heading"] == "5 random test images, balanced by class; then the 4 most confident mistakes"


class Sorted(Pictures):
    """As a folder of images is: all of the first class, then all of the second."""

    def load(self, split):
        rows = super().load(split)
        return Arrays(rows.x, rows.y.sort().values)


def test_predictions_show_every_class_of_sorted_rows(tmp_path, monkeypatch):
    shown = {}
    monkeypatch.setattr(
        "dlzoo.visualization.plots.predictions", lambda *args, **named: shown.update(args=args, **named) or figure()
    )
    found = []
    for batch_size in (7, 60):
        trainer, _, _ = make(tmp_path, PredictionGrid(num_first=7, num_mistakes=0))
        data = Sorted(CLASSES, eval_batch_size=batch_size)
        data.setup("fit")
        trainer.test(Tiny(data.spec, net=Foretold()), data, verbose=False)
        found.append(shown["args"])
    assert found[0][1].bincount().tolist() in ([3, 2, 2], [2, 3, 2], [2, 2, 3])
    assert torch.equal(found[0][0], found[1][0])  # the choice does not depend on the size of the batches
    assert shown["heading"] == "7 random test images, balanced by class"


def figure():
    from matplotlib.figure import Figure

    return Figure(figsize=(1, 1))


def test_worst_of_none():
    x, y = torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 2])
    assert len(worst((x, y, torch.eye(3)), 2)[0]) == 0
