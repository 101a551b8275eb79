"""MNIST as in most tutorials, to compare with ``experiment=fast_mnist``: ``python scripts/plain_mnist.py <data_dir>``

Two convolutions, max-pooling, dropout and two dense layers (PyTorch's own example), Adadelta, batch 64, a `DataLoader`
that turns one image after another into a standardized tensor; one epoch of all 60,000. Prints the seconds of training
and the test accuracy.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


class MNIST(Dataset[tuple[Tensor, int]]):
    def __init__(self, raw: Path, name: str) -> None:
        self.images = np.fromfile(raw / f"{name}-images-idx3-ubyte", np.uint8, offset=16).reshape(-1, 28, 28)
        self.labels = np.fromfile(raw / f"{name}-labels-idx1-ubyte", np.uint8, offset=8)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        image = torch.from_numpy(self.images[i]).float().div(255).unsqueeze(0)
        return (image - 0.1307) / 0.3081, int(self.labels[i])


def main(data_dir: str) -> None:
    torch.manual_seed(0)
    raw = Path(data_dir) / "MNIST" / "raw"
    net = nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
        nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adadelta(net.parameters(), lr=1.0)
    started = time.perf_counter()
    for x, y in DataLoader(MNIST(raw, "train"), batch_size=64, shuffle=True):
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    seconds = time.perf_counter() - started
    net.eval()
    with torch.no_grad():
        correct = sum(int((net(x).argmax(1) == y).sum()) for x, y in DataLoader(MNIST(raw, "t10k"), batch_size=1000))
    print(f"{seconds:.3f} {correct / 10_000:.4f}")


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1] != "--help":
        main(sys.argv[1])
    else:
        print((__doc__ or "").strip())
