"""Augmentation: what it keeps, what it moves, and that a seed repeats it."""

import pytest
import torch
from lightning.pytorch.plugins.precision import Precision

from dlzoo.config import compose as config
from dlzoo.config import groups, schema
from dlzoo.config import instantiate as build
from dlzoo.data.images import augment_policies as policies
from dlzoo.data.images.augment import Augment, cropped, cutmix_masks, moved
from dlzoo.data.images.digits import Digits
from dlzoo.errors import UserError

OPTIONS = {
    "flip": 0.5,
    "flip_vertical": 0.5,
    "rotate": 30.0,
    "shift": 0.2,
    "shear": 20.0,
    "zoom": 0.3,
    "crop": 2,
    "num_ops": 2,
    "trivial": True,
    "erase": 0.5,
    "mixup": 0.4,
    "cutmix": 1.0,
}


def pictures(num: int = 32, channels: int = 1, height: int = 12, width: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(num, channels, height, width, generator=generator), torch.arange(num) % 10


def augment(**options: float) -> Augment:
    made = Augment(**options)
    made.num_classes = 10
    return made


def centre_of_mass(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows, columns) of each picture, in pixels."""
    mass = x.sum((1, 2, 3))
    return (
        (x.sum((1, 3)) * torch.arange(x.shape[2])).sum(1) / mass,
        (x.sum((1, 2)) * torch.arange(x.shape[3])).sum(1) / mass,
    )


def test_all_off_changes_nothing():
    x, y = pictures()
    state = torch.random.get_rng_state()
    assert all(a is b for a, b in zip(Augment()(x, y), (x, y), strict=True))
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("name", [*OPTIONS, "all"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_option(name, channels):
    options = OPTIONS if name == "all" else {name: OPTIONS[name]}
    x, y = pictures(channels=channels)
    x, kept = x[:1].expand_as(x).clone(), x[:1].clone()  # one picture, many times: what differs is chance
    if name in ("mixup", "cutmix"):
        x[::2] = 1 - x[::2]
    torch.manual_seed(3)
    first, labels = augment(**options)(x, y)
    assert first.shape == x.shape
    assert first.dtype == x.dtype
    assert first.min() >= 0
    assert first.max() <= 1 + 1e-5
    assert len(torch.unique(first.flatten(1), dim=0)) > 1
    assert torch.equal(x[1], kept[0]), "the batch given was written to"
    torch.manual_seed(3)
    again = augment(**options)(x, y)
    assert torch.equal(again[0], first)
    assert torch.equal(again[1], labels)
    assert not torch.equal(augment(**options)(x, y)[0], first)
    if name in ("mixup", "cutmix", "all"):
        torch.testing.assert_close(labels.sum(1), torch.ones(len(y)))
        assert labels.shape == (len(y), 10)
        assert labels.min() >= 0
    else:
        assert labels is y


@pytest.mark.parametrize(("name", "axis"), [("flip", 3), ("flip_vertical", 2)])
def test_flips_mirror_whole_pictures_at_their_rate(name, axis):
    x, y = pictures(num=2000)
    torch.manual_seed(0)
    out, _ = augment(**{name: 0.3})(x, y)
    mirrored = (out == x.flip(axis)).flatten(1).all(1)
    assert (mirrored | (out == x).flatten(1).all(1)).all()
    assert mirrored.float().mean() == pytest.approx(0.3, abs=0.03)  # 3 standard errors


def test_shift_moves_by_a_fraction_of_each_axis():
    x = torch.zeros(2000, 1, 20, 40)
    x[:, :, 9:11, 18:22] = 1
    before, y = centre_of_mass(x), torch.zeros(2000, dtype=torch.long)
    torch.manual_seed(0)
    out, _ = augment(shift=0.25)(x, y)
    for length, old, new in zip((20, 40), before, centre_of_mass(out), strict=True):
        moved = new - old
        assert moved.abs().max() <= 0.25 * length + 0.01
        assert moved.std() == pytest.approx(0.5 * length / 12**0.5, rel=0.06)  # uniform over half the length
        assert moved.mean().abs() < 0.05 * length
    torch.testing.assert_close(out.sum((1, 2, 3)), x.sum((1, 2, 3)))


def test_rotation_turns_by_the_angle_even_when_not_square():
    x = torch.zeros(500, 1, 41, 61)
    x[:, :, 20, 15:46] = 1  # a level bar through the centre
    torch.manual_seed(0)
    out, _ = augment(rotate=40.0)(x, torch.zeros(500, dtype=torch.long))
    rows, columns = torch.meshgrid(torch.arange(41.0) - 20, torch.arange(61.0) - 30, indexing="ij")
    moment = [(out[:, 0] * term).sum((1, 2)) for term in (rows * columns, columns**2 - rows**2)]
    angles = torch.rad2deg(torch.atan2(2 * moment[0], moment[1]) / 2)
    assert 38 < angles.abs().max() < 40.5
    assert angles.std() == pytest.approx(80 / 12**0.5, rel=0.1)


def test_zoom_scales_lengths_both_ways():
    x = torch.zeros(500, 1, 40, 40)
    x[:, :, 10:30, 10:30] = 1
    torch.manual_seed(0)
    out, _ = augment(zoom=0.2)(x, torch.zeros(500, dtype=torch.long))
    side = out.sum((1, 2, 3)).sqrt() / 20
    assert side.min() == pytest.approx(0.8, abs=0.02)
    assert side.max() == pytest.approx(1.2, abs=0.02)


def test_crop_gives_each_window_of_the_bordered_picture():
    x, _ = pictures(num=1000, channels=2)
    torch.manual_seed(0)
    out = cropped(x, 1, torch.randint(3, (2, len(x))))
    bordered = torch.nn.functional.pad(x, (1, 1, 1, 1))
    hits = torch.zeros(3, 3)
    for top in range(3):
        for left in range(3):
            same = (out == bordered[:, :, top : top + 12, left : left + 10]).flatten(1).all(1)
            hits[top, left] = same.sum()
    assert hits.sum() == 1000
    assert (hits - 1000 / 9).abs().max() < 40  # 4 standard errors


def test_mixup_mixes_pictures_and_labels_alike():
    x = torch.stack([torch.full((1, 4, 4), v) for v in (0.0, 1.0)]).repeat(50, 1, 1, 1)
    y = torch.arange(100) % 2  # the grey of a picture is its label
    torch.manual_seed(0)
    out, labels = augment(mixup=1.0)(x, y)
    torch.testing.assert_close(out.mean((1, 2, 3)), labels[:, 1])
    assert labels.shape == (100, 10)  # all classes, though the batch holds two
    mixed = labels[:, 1][(labels[:, 1] > 0.05) & (labels[:, 1] < 0.95)]
    assert len(mixed) > 30
    assert len(mixed.unique()) > 25  # each picture has its own share


def test_cutmix_pastes_rectangles_and_counts_their_area():
    x = torch.stack([torch.full((1, 8, 6), v) for v in (0.0, 1.0)]).repeat(50, 1, 1, 1)
    torch.manual_seed(0)
    out, labels = augment(cutmix=1.0)(x, torch.arange(100) % 2)
    assert set(out.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(out.mean((1, 2, 3)), labels[:, 1])
    gone = cutmix_masks(500, 1.0, 8, 6)[:, 0] == 0
    assert torch.equal(gone, gone.any(2, keepdim=True) & gone.any(1, keepdim=True))  # rectangles
    assert 0.25 < gone.float().mean() < 0.45  # half the picture on average, less what the border cuts


def test_cutmix_rectangles_have_the_shape_of_the_picture():
    torch.manual_seed(0)
    gone = cutmix_masks(500, 1.0, 40, 20)[:, 0] == 0
    rows, columns = gone.any(2), gone.any(1)
    whole = ~(rows[:, 0] | rows[:, -1] | columns[:, 0] | columns[:, -1])  # the border cuts the others
    assert whole.sum() > 50
    assert (rows.sum(1) - 2 * columns.sum(1))[whole].abs().max() <= 3


def test_mixup_and_cutmix_together_give_each_picture_one():
    x = torch.stack([torch.full((1, 8, 8), v) for v in (0.0, 1.0)]).repeat(200, 1, 1, 1)
    torch.manual_seed(0)
    out, labels = augment(mixup=1.0, cutmix=1.0)(x, torch.arange(400) % 2)
    torch.testing.assert_close(out.mean((1, 2, 3)), labels[:, 1])
    flat, grey = out.flatten(1), (labels[:, 1] > 0) & (labels[:, 1] < 1)
    even = (flat == flat[:, :1]).all(1)
    assert 0.3 < even[grey].float().mean() < 0.7


def test_mixing_keeps_probabilities_and_values():
    x, _ = pictures(num=64)
    y = x.mean((1, 2, 3))[:, None]  # a value that is linear in the picture
    out, mixed = augment(mixup=1.0)(x, y)
    torch.testing.assert_close(out.mean((1, 2, 3))[:, None], mixed)


def test_erase_blackens_rectangles_at_its_rate():
    x, y = torch.ones(1000, 3, 20, 20), torch.zeros(1000, dtype=torch.long)
    torch.manual_seed(0)
    out, _ = augment(erase=0.4)(x, y)
    black = (out == 0).all(1)
    assert ((out == 0) | (out == 1)).all()
    assert black.flatten(1).any(1).float().mean() == pytest.approx(0.4, abs=0.05)
    assert torch.equal(black, black.any(2, keepdim=True) & black.any(1, keepdim=True))


def outcomes(x: torch.Tensor, **options: float) -> tuple[torch.Tensor, torch.Tensor]:
    """What many copies of one picture become: the different ones, and which of them each copy is."""
    torch.manual_seed(0)
    out, _ = augment(**options)(x.expand(1600, *x.shape), torch.zeros(1600, dtype=torch.long))
    return out.flatten(1).unique(dim=0, return_inverse=True)


@pytest.mark.parametrize("options", [{"num_ops": 2}, {"trivial": True}])
def test_a_policy_draws_for_eight_pictures_at_a_time(options):
    found, which = outcomes(torch.rand(3, 12, 10), **options)
    assert len(found) > 20
    assert (which.bincount() % policies.GROUP_SIZE == 0).all()
    assert (which[1:] == which[:-1]).float().mean() < 0.3  # neighbours are not alike: the groups are shuffled


def test_randaugment_has_one_magnitude_and_so_many_operations():
    """14 operations, 9 of them with a sign, so 23 outcomes of one; 23 * 23 of two; TrivialAugment's are countless."""
    x = torch.rand(3, 12, 10)
    one, two, trivial = (len(outcomes(x, **o)[0]) for o in ({"num_ops": 1}, {"num_ops": 2}, {"trivial": True}))
    assert 18 <= one <= 23 < 60 < two
    assert trivial > 60


def test_a_larger_magnitude_changes_more():
    x, changes = torch.rand(3, 12, 10), []
    for magnitude in (1, 9, 30):
        found, which = outcomes(x, num_ops=1, magnitude=magnitude)
        changes.append((found[which] - x.flatten()).abs().mean().item())
    assert changes[0] * 1.3 < changes[1] < changes[2] / 1.3


@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 40), (120, 100)])
def test_trivial_moves_no_picture_out_of_its_frame(height, width, monkeypatch):
    """The published 32 pixels would leave nothing of an 8x8 digit."""
    from torchvision.transforms.v2 import TrivialAugmentWide as trivial

    moves = {name: trivial._AUGMENTATION_SPACE[name] for name in ("TranslateX", "TranslateY")}
    monkeypatch.setattr(trivial, "_AUGMENTATION_SPACE", moves)
    x = torch.zeros(1, height, width)
    x[:, height // 2 - 1 : height // 2 + 1, width // 2 - 1 : width // 2 + 1] = 1
    found, _ = outcomes(x, trivial=True)
    for place, side in zip(centre_of_mass(found.view(-1, 1, height, width)), (height, width), strict=True):
        moved = (place - (side - 1) / 2).abs().max().item()
        assert moved == pytest.approx(int(min(32, 150 / 331 * side)), abs=0.01)


def test_policies_need_grey_or_colour():
    with pytest.raises(UserError, match="augment=trivial requires grey or colour images, but these have 2 channels"):
        augment(trivial=True)(*pictures(channels=2))


@pytest.mark.parametrize("name", [name for name in groups.names()["augment"] if name != "sound"])
def test_every_policy_by_name_and_with_mixup(name):
    for choice in (name, f"[{name},mixup]"):
        cfg = config.compose(["data=digits", f"augment={choice}"])
        schema.check(cfg)
        made = build.build_data(cfg.data).augment
        if choice == "none":
            assert made is None
            continue
        made.num_classes = 10
        x, y = pictures()
        out, labels = made(x, y)
        assert out.shape == x.shape
        assert not torch.equal(out, x)
        mixes = choice != name or name in ("mixup", "cutmix")
        assert labels.shape == ((len(y), 10) if mixes else (len(y),))


def test_mixing_labels_needs_their_number():
    with pytest.raises(RuntimeError, match="num_classes"):
        Augment(mixup=0.2)(*pictures())


@pytest.mark.parametrize(
    "options",
    [
        {"flip": 1.5},
        {"magnitude": 31},
        {"num_ops": -1},
        {"rotate": -1},
        {"zoom": 1.0},
        {"crop": -1},
        {"mixup": -0.1},
        {"num_ops": 10**12},
        {"crop": 10**12},
        {"mixup": 1e-300},
        {"cutmix": 1e300},
    ],
)
def test_out_of_range_names_the_key(options):
    with pytest.raises(UserError, match=f"data.augment.{next(iter(options))}="):
        Augment(**options)


def test_tables_are_refused():
    with pytest.raises(UserError, match="augment=none"):
        Augment(flip=0.5)(torch.rand(4, 7), torch.zeros(4))


def test_the_data_module_sets_the_number_of_classes_and_keeps_weights():
    class Training:
        training = True
        precision_plugin = Precision()

    data = Digits(augment=Augment(mixup=0.5))
    x, y, _ = next(iter(data.train_dataloader()))
    data.trainer = Training()
    weight = torch.rand(len(y))
    _, mixed, out = data.on_after_batch_transfer((x, y, weight), 0)
    assert mixed.shape == (len(y), 10)
    assert out is weight
    data.trainer.training = False
    assert data.on_after_batch_transfer((x, y), 0)[1] is y


# boxes


def boxed() -> tuple[torch.Tensor, torch.Tensor]:
    """Images (B, 1, 24, 20) with a bright rectangle each, and its box."""
    x, boxes = torch.zeros(16, 1, 24, 20), []
    for i in range(16):
        top, left, bottom, right = 7 + i % 3, 6 + i % 2, 13 + i % 4, 11 + i % 3
        x[i, 0, top:bottom, left:right] = 1
        boxes.append([left / 20, top / 24, right / 20, bottom / 24])
    return x, torch.tensor(boxes)


@pytest.mark.parametrize("name", ["flip", "flip_vertical", "shift", "zoom", "crop"])
def test_boxes_move_with_the_images(name):
    x, box = boxed()
    torch.manual_seed(4)
    made = Augment(**{name: OPTIONS[name]})
    made.box_names = ("box",)
    kept = torch.arange(16)
    out, y = made(x, {"class": kept, "box": box})
    assert torch.equal(y["class"], kept)
    assert not torch.equal(y["box"], box)
    for image, (left, top, right, bottom) in zip(
        out[:, 0] > 0.5, y["box"] * torch.tensor([20, 24, 20, 24]), strict=True
    ):
        rows, columns = image.any(1).nonzero()[:, 0], image.any(0).nonzero()[:, 0]
        edges = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()
        assert (edges - torch.stack([left, top, right, bottom])).abs().max() <= (
            0.75 if name in ("shift", "zoom") else 1e-4
        )


def test_a_box_that_leaves_the_image_is_no_box():
    x, box = boxed()
    matrix = torch.eye(3).repeat(16, 1, 1)
    matrix[0, 0, 2] = 30
    matrix[1, 0, 2] = 10
    out = moved(box, matrix, x)
    assert out[0].isnan().all()
    assert out[1, 2] == 1
    torch.testing.assert_close(out[2:], box[2:])


@pytest.mark.parametrize("options", [{"mixup": 0.2}, {"cutmix": 1.0}, {"trivial": True}, {"num_ops": 2}])
def test_what_boxes_cannot_follow_is_refused(options):
    x, box = boxed()
    made = Augment(**options)
    made.box_names = ("",)
    with pytest.raises(UserError, match="augment="):
        made(x, box)
