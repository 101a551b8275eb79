"""Published sets of images in little: the same files and formats, a few images in each."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile

import numpy as np
import torch
from cifar_files import batch

from dlzoo.data.images.published import CIFAR10, MNIST, FashionMNIST

NUM = {"train": 30, "test": 20}


RNG = np.random.default_rng(0)


PIXELS = {split: RNG.integers(0, 256, (n, 28, 28), np.uint8) for split, n in NUM.items()}


LABELS = {split: np.arange(n, dtype=np.uint8) % 10 for split, n in NUM.items()}


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


PLAIN = {
    f"{prefix}-{part}-idx{arrays[split].ndim}-ubyte": idx(arrays[split])
    for split, prefix in {"train": "train", "test": "t10k"}.items()
    for part, arrays in {"images": PIXELS, "labels": LABELS}.items()
}


PACKED = {f"{name}.gz": gzip.compress(content) for name, content in PLAIN.items()}


def md5s(contents: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}


class SmallMNIST(MNIST):
    num_images = NUM
    md5 = md5s(PACKED)


class SmallFashionMNIST(FashionMNIST):
    num_images = NUM
    md5 = md5s(PACKED)


BATCHES = {name: batch(i) for i, name in enumerate(CIFAR10.md5)}


def archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in reversed([("readme.html", b"hello"), *BATCHES.items()]):
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


ARCHIVE = archive()


class SmallCIFAR10(CIFAR10):
    num_images = 10
    md5 = md5s(BATCHES)
    archive_md5 = hashlib.md5(ARCHIVE).hexdigest()


def check_cifar(data: CIFAR10) -> None:
    train, test = data.load("train"), data.load("test")
    assert (train.x.shape, test.x.shape) == ((50, 3, 32, 32), (10, 3, 32, 32))
    assert (train.x.dtype, train.y.dtype) == (torch.uint8, torch.int64)
    for rows, numbers in ((train, range(5)), (test, [5])):
        rngs = [np.random.default_rng(i) for i in numbers]
        labels = np.concatenate([rng.integers(0, 10, 10) for rng in rngs])
        pixels = np.concatenate([rng.integers(0, 256, (10, 3072), np.uint8) for rng in rngs])
        assert rows.y.tolist() == labels.tolist()
        green_of_last = pixels[-1, 1024:2048].reshape(32, 32)
        assert rows.x[-1, 1].equal(torch.from_numpy(green_of_last))
        assert rows.x.flatten(1).equal(torch.from_numpy(pixels))
