"""Measures how much faster WaveNet generates with the inputs that each layer keeps than by a pass over its whole past.

    python scripts/bench_wavenet.py [samples]

Both draw the same samples with the same random numbers, with the net's default options: 30 layers, which see 3,070
samples. The naive way is timed on the last samples of the recording alone, where its window is full. Exit code 1 if the
ratio is below 20, or if the samples differ.
"""

from __future__ import annotations

import sys
import time

import torch
from torch import Tensor

from dlzoo.inference.sound import Options, sample_levels
from dlzoo.layers import mu_law
from dlzoo.nets.wavenet import WaveNet
from dlzoo.specs.audio import AudioSpec
from dlzoo.specs.targets import Classes

NUM_NAIVE = 20
RATIO = 20.0


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = WaveNet(AudioSpec(8000, 8000, Classes(tuple("0123456789")))).eval()
    num = int(sys.argv[1]) if len(sys.argv) > 1 else net.receptive_field + 200
    options, condition = Options(n=1), torch.eye(10)[:1]
    with torch.inference_mode():
        started = time.process_time()
        fast = torch.stack([*sample_levels(net, options, num, condition)], 1)
        per_fast = (time.process_time() - started) / num
        started = time.process_time()
        same = naive(net, fast, options, condition)
        per_naive = (time.process_time() - started) / NUM_NAIVE
    ratio = per_naive / per_fast
    print(f"receptive field   {net.receptive_field:,} samples, torch {torch.__version__}, one thread, processor time")
    print(f"with kept inputs  {per_fast * 1e3:.2f} ms a sample ({num:,} samples)")
    print(f"naive             {per_naive * 1e3:.2f} ms a sample (the last {NUM_NAIVE})")
    print(f"ratio             {ratio:.1f}, at least {RATIO:g}; the samples are {'the same' if same else 'different'}")
    sys.exit(int(ratio < RATIO or not same))


def naive(net: WaveNet, fast: Tensor, options: Options, condition: Tensor) -> bool:
    """Draw the last samples again, each by a pass over all that the net sees; whether they are the same.

    Args:
        fast: (1, T), as generated; the random numbers of those before the last are drawn again, in their order.
    """
    draw, num = torch.Generator().manual_seed(options.seed), fast.shape[1]
    known = torch.cat([torch.full((1, 1), mu_law.SILENCE), fast], 1)
    uniform = torch.zeros(1, mu_law.NUM_LEVELS)
    for _ in range(num - NUM_NAIVE):
        options.draw(uniform, draw)
    levels = known[:, : num - NUM_NAIVE + 1]
    for _ in range(NUM_NAIVE):
        logits = net.read(levels[:, -net.receptive_field :], condition)
        levels = torch.cat([levels, options.draw(logits[:, -1], draw)[:, None]], 1)
    return torch.equal(levels, known)


if __name__ == "__main__":
    main()
