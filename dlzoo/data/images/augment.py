"""Augmentation of batches of images on their device.

Parameters are drawn per image from torch's global CPU generator, so a seed reproduces a run, and CPU and GPU runs see
the same augmentations. Rotation, shear, zoom, flips and erasing are kornia's. Three are implemented here, timed on one
CPU core with 128 images of 1x28x28 (torch 2.15, kornia 0.9, medians of 150 calls): a random crop is one gather of
windows, 0.26 ms against 2.0 ms for kornia's `RandomCrop`; CutMix takes 0.5 ms against 2.4 ms, and kornia's CutMix and
MixUp return label pairs instead of probabilities. Where kornia is used it takes less than 3 times as long as minimal
code: `RandomAffine` 2.3 ms against 1.5 ms for affine_grid and grid_sample, `RandomHorizontalFlip` 0.4 ms against
0.15 ms.

- MixUp: H. Zhang, M. Cisse, Y. Dauphin, D. Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", 2018. Here each
  image has its own mixing coefficient instead of one per batch.
- CutMix: S. Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features", 2019.
- Random erasing: Z. Zhong et al., "Random Erasing Data Augmentation", 2017, which fills with noise; here, black.
- RandAugment and TrivialAugment: see dlzoo/data/images/augment_policies.py.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Beta

from dlzoo.data.augmentation import Augmentation
from dlzoo.data.images import augment_policies as policies
from dlzoo.errors import UserError, between
from dlzoo.specs.batch import TensorOrDict, part_of
from dlzoo.specs.inputs import ImageSpec

NODE = "data.augment"


class Augment(Augmentation):
    """Random, label-preserving transforms. All are off by default; those enabled are applied in the order listed here.

    Args:
        flip: probability of a horizontal flip.
        flip_vertical: probability of a vertical flip.
        rotate: maximum angle in degrees, in either direction.
        shift: maximum shift along each axis, as a fraction of the width or height.
        shear: maximum angle in degrees, in either direction.
        zoom: maximum change of scale, as a fraction.
        crop: pixels of black padding, before a random crop of the original size.
        num_ops: RandAugment operations per image (usually 2).
        magnitude: their magnitude, out of 30 (usually 9).
        trivial: apply a TrivialAugment operation to each image.
        erase: probability that a rectangle (2% to 33% of the area) is blacked out.
        mixup: alpha of the Beta distribution of the mixing coefficient of two images of a batch (usually 0.2).
        cutmix: alpha of the area of a rectangle pasted from another image (usually 1.0). If ``mixup`` is enabled too,
            each image undergoes one of them, with probability 1/2 each.
    """

    accepts = (ImageSpec,)

    num_classes: int | None = None
    """Number of classes, to one-hot encode integer labels for mixing; set by the data module."""
    box_names: tuple[str, ...] = ()
    """Names of the targets that are boxes, which move with the images; set by the data module."""

    def __init__(
        self,
        *,
        flip: float = 0.0,
        flip_vertical: float = 0.0,
        rotate: float = 0.0,
        shift: float = 0.0,
        shear: float = 0.0,
        zoom: float = 0.0,
        crop: int = 0,
        num_ops: int = 0,
        magnitude: int = 9,
        trivial: bool = False,
        erase: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
    ) -> None:
        super().__init__()
        between(0, 1, NODE, flip=flip, flip_vertical=flip_vertical, shift=shift, erase=erase)
        between(0, 180, NODE, rotate=rotate)
        between(0, 89, NODE, shear=shear)
        between(0, 0.99, NODE, zoom=zoom)
        between(0, policies.MAX_MAGNITUDE, NODE, magnitude=magnitude)
        between(0, 256, NODE, crop=crop)  # takes memory of its square
        between(0, 20, NODE, num_ops=num_ops)  # RandAugment has 14 different ones
        # 0 is off; from other Beta distributions single precision cannot draw.
        between(0.001, 1000, NODE, mixup=mixup or None, cutmix=cutmix or None)
        self.crop = crop
        self.mixup = mixup
        self.cutmix = cutmix
        self.before_crop = nn.Sequential()
        self.after_crop = nn.Sequential()
        self.policies = [policies.randaugment(num_ops, magnitude)] if num_ops else []
        self.policies += [policies.trivial_augment()] if trivial else []
        if not any((flip, flip_vertical, rotate, shift, shear, zoom, erase)):
            return
        import kornia.augmentation as K  # not at the top: 0.2 s

        if flip:
            self.before_crop.append(K.RandomHorizontalFlip(p=flip))
        if flip_vertical:
            self.before_crop.append(K.RandomVerticalFlip(p=flip_vertical))
        if rotate or shift or shear or zoom:
            scale = (1 - zoom, 1 + zoom)
            self.before_crop.append(
                K.RandomAffine(rotate, translate=(shift, shift), scale=scale, shear=(-shear, shear), p=1.0)
            )
        if erase:
            self.after_crop.append(K.RandomErasing(p=erase))

    def forward(self, x: Tensor, y: TensorOrDict) -> tuple[Tensor, TensorOrDict]:
        """x: (B, C, H, W) in [0, 1], y: (B,) labels or (B, K), by name if there are several -> the same; mixing
        converts labels to (B, K)."""
        if x.ndim != 4:
            raise UserError(f"augment= requires images, but this data gives {x.ndim - 1}-d inputs; use augment=none")
        boxes = self.check_targets(y)
        for move in self.before_crop:
            x = move(x)
            matrix: Any = move.transform_matrix
            boxes = {name: moved(box, matrix, x) for name, box in boxes.items()}
        if self.crop:
            places = torch.randint(2 * self.crop + 1, (2, len(x))).to(x.device)
            x = cropped(x, self.crop, places)
            shift = torch.eye(3, device=x.device).repeat(len(x), 1, 1)
            shift[:, [1, 0], 2] = (self.crop - places.T).to(shift)
            boxes = {name: moved(box, shift, x) for name, box in boxes.items()}
        for policy in self.policies:
            x = policy(x)
        x = self.after_crop(x)
        if not isinstance(y, Tensor):
            return x, {**y, **boxes}
        if boxes:
            (y,) = boxes.values()
        return self.mix(x, y) if self.mixup or self.cutmix else (x, y)

    def check_targets(self, y: TensorOrDict) -> dict[str, Tensor]:
        """The boxes of a batch by name, an empty one if they are its only target.

        Raises:
            UserError: what is enabled cannot be done to these targets.
        """
        boxes = {name: part_of(y, name) for name in self.box_names}
        if (boxes or not isinstance(y, Tensor)) and (self.mixup or self.cutmix):
            raise UserError("augment=mixup and cutmix mix one target of classes or values; use others, such as shift")
        if boxes and self.policies:
            raise UserError(
                "augment=randaugment and trivial move images in ways that boxes do not follow; use flips, shift, "
                "crop_flip or rotate_shift_shear_zoom"
            )
        return boxes

    def mix(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mix each image and its target with another's."""
        if not y.is_floating_point():
            if self.num_classes is None:
                raise RuntimeError("MixUp and CutMix of integer labels need Augment.num_classes")
            y = F.one_hot(y, self.num_classes).to(x.dtype)
        num, _, height, width = x.shape
        if not self.cutmix:
            weights = mixup_weights(num, self.mixup)
        else:
            weights = cutmix_masks(num, self.cutmix, height, width)
            if self.mixup:
                weights = torch.where(torch.rand(num, 1, 1, 1) < 0.5, weights, mixup_weights(num, self.mixup))
        weights, other = weights.to(x.device, x.dtype), torch.randperm(num).to(x.device)
        fractions = weights.mean((1, 2, 3)).view(-1, *[1] * (y.ndim - 1)).to(y.dtype)
        return x[other].lerp(x, weights), y[other].lerp(y, fractions)


def cropped(x: Tensor, padding: int, places: Tensor) -> Tensor:
    """x: (B, C, H, W) -> a crop of the same size from each image, padded with ``padding`` black pixels.

    Args:
        places: (2, B) the rows and columns where the crops begin.
    """
    num, _, height, width = x.shape
    top, left = places
    windows = F.pad(x, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)  # a view: (B, C, tops, lefts, H, W)
    return windows[torch.arange(num, device=x.device), :, top, left]


def moved(box: Tensor, matrix: Tensor, x: Tensor) -> Tensor:
    """The boxes (B, 4) of images that were moved: the smallest around their moved corners, cut to the image.

    A box that has left the image becomes NaN.

    Args:
        box: left, top, right, bottom as fractions.
        matrix: (B, 3, 3), of pixels' numbers before to those after.
        x: (B, C, H, W), for the size of the images.
    """
    size = box.new_tensor([x.shape[-1], x.shape[-2]])
    left, top, right, bottom = (box * size.repeat(2) - 0.5).unbind(1)  # the first pixel reaches from -0.5 to 0.5
    one = torch.ones_like(left)
    corners = torch.stack([torch.stack([u, v, one], 1) for u in (left, right) for v in (top, bottom)], 2)  # (B, 3, 4)
    points = (matrix.to(box) @ corners)[:, :2]
    edges = (torch.cat([points.amin(2), points.amax(2)], 1) + 0.5) / size.repeat(2)
    edges = edges.clamp(0, 1)
    return edges.where((edges[:, 2:] > edges[:, :2]).all(1, keepdim=True), torch.nan)


def mixup_weights(num: int, alpha: float) -> Tensor:
    """(B, 1, 1, 1): the weight of each original image."""
    return Beta(alpha, alpha).sample((num, 1, 1, 1))


def cutmix_masks(num: int, alpha: float, height: int, width: int) -> Tensor:
    """(B, 1, H, W): 0 in a rectangle, 1 outside. Its centre is uniform, so it may be clipped at the border."""
    side = (1 - Beta(alpha, alpha).sample((num, 1))).sqrt()
    spans = []
    for length in (height, width):
        centre = torch.rand(num, 1) * length
        pixels = torch.arange(length) + 0.5
        spans.append((pixels - centre).abs() < side * length / 2)
    return 1.0 - (spans[0][:, None, :, None] & spans[1][:, None, None, :]).float()
