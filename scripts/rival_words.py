"""gensim, the most used word2vec in Python, with the settings of a config of ``model=word2vec``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from dlzoo.errors import UserError
from dlzoo.metrics import analogies
from dlzoo.specs.tokenizer import UNKNOWN

MIN_RATE = 1e-4
"""Of the learning rate at the end, as a fraction of that at the start."""
EPOCHS = 5
"""gensim's default."""


def sentences(data: Any) -> list[list[str]]:
    """The words of each training text, without unknown ones, as the task reads them."""
    vocabulary, texts = data.spec.vocabulary, data.arrays("train")
    rows = texts.tokens.split(texts.lengths.tolist())
    return [[vocabulary[i] for i in row.tolist() if i > UNKNOWN] for row in rows]


def trained(cfg: Any, texts: Sequence[list[str]], seed: int, workers: int = 1) -> tuple[Any, float]:
    """gensim's model with the settings of a config, and the seconds of its training without counting words.

    Args:
        workers: threads that train; with one, equal seeds give equal vectors if PYTHONHASHSEED is fixed.
    """
    try:
        from gensim.models import Word2Vec
    except ImportError:
        raise UserError("the rival of word2vec is gensim: pip install -e '.[test]'") from None

    net, task, epochs = cfg.net, cfg.task, cfg.trainer.max_epochs
    rate = task.get("learning_rate", 0.025)
    is_hierarchical = net.get("output") == "hierarchical_softmax"
    model = Word2Vec(
        vector_size=net.get("embedding", 100), window=task.get("window", 5), min_count=1, seed=seed + 1,
        sg=int(task.get("architecture", "skipgram") == "skipgram"), hs=int(is_hierarchical),
        negative=0 if is_hierarchical else task.get("num_negatives", 5), sample=task.get("subsample", 1e-3),
        alpha=rate, min_alpha=rate * MIN_RATE, workers=workers,
    )  # fmt: skip
    model.build_vocab(texts)
    started = time.perf_counter()
    model.train(texts, total_examples=model.corpus_count, epochs=epochs)
    return model, time.perf_counter() - started


def accuracy(name: str, seed: int) -> float:
    """Right answers to the analogies of which all words are known, as in the test of an experiment's run.

    The settings are the experiment's if it is of word2vec, else those of ``model=word2vec`` and gensim's five epochs.
    """
    from dlzoo.callbacks.word_report import QUESTIONS
    from dlzoo.utils.download import find
    from scripts.rivals import config_of, data_of

    cfg = config_of(name, seed)
    if cfg.names.model != "word2vec":
        cfg = config_of(name, seed, "model=word2vec", f"trainer.max_epochs={EPOCHS}")
    path = find(data_of(name, seed).data_dir, QUESTIONS)
    if path is None:
        raise UserError(f"data_dir={cfg.data_dir}: {QUESTIONS} is not there")
    model, _ = trained(cfg, sentences(data_of(name, seed)), seed)
    units = F.normalize(torch.from_numpy(model.wv.vectors.copy()), dim=1)
    sections = analogies.read_questions(path)
    scores = list(analogies.scores(sections, list(model.wv.index_to_key), units, lower=True))
    return sum(score.right for score in scores) / sum(score.known for score in scores)
