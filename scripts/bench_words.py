"""Compares an epoch of ``model=word2vec`` with an epoch of gensim on the same texts, one after the other.

    python scripts/bench_words.py [--threads N] [--only TEXT] [--json FILE]

Both have the same settings, words and number of threads. Ours is a whole run: loader, trainer, progress bar;
its time is the difference of a long and a short run. gensim's is that of its method ``train`` alone. Words are those
read, before frequent ones are dropped. Exit code 1 if skip-gram or CBOW with negative sampling is slower than gensim.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TARGET = 1.0
EPOCHS = (1, 3)
"""Of the short and the long run."""
CASES: dict[str, tuple[str, ...]] = {
    "skip-gram, negative sampling": (),
    "CBOW, negative sampling": ("task.architecture=cbow",),
    "skip-gram, hierarchical softmax": ("net.output=hierarchical_softmax",),
    "CBOW, hierarchical softmax": ("task.architecture=cbow", "net.output=hierarchical_softmax"),
}
QUIET = (
    "experiment=word2vec_imdb", "trainer=cpu", "callbacks=[progress,history]", "logger=none", "test=false", "expect=[]",
    "trainer.limit_val_batches=1",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    import torch

    parser = argparse.ArgumentParser(prog="bench_words.py", description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--threads", type=int, default=2, help="of both")
    parser.add_argument("--only", default="", help="part of the names of the cases")
    parser.add_argument("--json", type=Path, default=None, help="file for the figures")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    texts = texts_of(QUIET)
    num_words = sum(map(len, texts))
    figures = {}
    print(f"{'':34}{'gensim':>12}{'dlzoo':>12}{'ratio':>8}   words a second, {options.threads} threads")
    for name, words in CASES.items():
        if options.only not in name:
            continue
        peer = num_words / gensim_seconds((*QUIET, *words), texts, options.threads)
        ours = num_words / our_seconds((*QUIET, *words))
        figures[name] = {"gensim": peer, "dlzoo": ours, "ratio": ours / peer}
        print(f"{name:34}{peer:12,.0f}{ours:12,.0f}{ours / peer:8.2f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    sys.exit(any(each["ratio"] < TARGET for name, each in figures.items() if "negative" in name))


def our_seconds(words: Sequence[str]) -> float:
    """Of an epoch, from runs of the shorter and the longer length."""
    from dlzoo.config import compose as config
    from dlzoo.training.run import run

    seconds = []
    for epochs in EPOCHS:
        given = [*words, f"trainer.max_epochs={epochs}"]
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            results = run(config.compose(given), Path(folder), given)
            seconds.append(float(results["seconds"]["fit"]))
    return (seconds[1] - seconds[0]) / (EPOCHS[1] - EPOCHS[0])


def gensim_seconds(words: Sequence[str], texts: Sequence[list[str]], threads: int) -> float:
    """Of an epoch."""
    from dlzoo.config import compose as config
    from scripts.rival_words import trained

    cfg = config.compose([*words, "trainer.max_epochs=1"])
    return trained(cfg, texts, 0, workers=threads)[1]


def texts_of(words: Sequence[str]) -> list[list[str]]:
    from dlzoo.config import compose as config
    from dlzoo.config.instantiate import build_data
    from scripts.rival_words import sentences

    data: Any = build_data(config.compose(list(words)).data)
    data.prepare_data()
    data.setup("fit")
    return sentences(data)


if __name__ == "__main__":
    main()
