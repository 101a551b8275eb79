"""Tokenised text, stored by what it was made from, so that a large corpus is cut into tokens once.

The name of a stored file is a hash of the source's bytes and of the tokeniser's settings: another text or another
setting never finds it. The folder is the user's own cache, or DLZOO_CACHE_DIR; whatever is in it may be deleted. A file
that is damaged is as good as none, and where nothing can be stored, text is cut anew each time.
"""

from __future__ import annotations

import contextlib
import json
import os
import zipfile
import zlib
from array import array
from collections import defaultdict
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dlzoo.specs.tokenizer import VERSION, Tokenizer
from dlzoo.utils import archives
from dlzoo.utils.files import replaced


class Corpus(NamedTuple):
    """Texts as numbers of ``words``, which are all tokens in the order in which they appear.

    tokens: (T,) int32, one text behind the other; starts: (N + 1,) int64, where each begins; labels: (N,) int64.
    """

    words: list[str]
    tokens: np.ndarray
    starts: np.ndarray
    labels: np.ndarray


def tokenise(texts: Iterable[str], labels: Iterable[int], tokenizer: Tokenizer) -> Corpus:
    """Cut texts into tokens; 25,000 reviews of 230 words take about four seconds on one core."""
    split = tokenizer.splitter()
    numbers: defaultdict[str, int] = defaultdict()
    numbers.default_factory = numbers.__len__  # a new token gets the next number
    tokens, starts = array("i"), array("q", [0])
    for text in texts:
        tokens.extend(map(numbers.__getitem__, split(text)))
        starts.append(len(tokens))
    return Corpus(list(numbers), np.array(tokens, np.int32), np.array(starts), np.array([*labels], np.int64))


def folder() -> Path:
    """Where tokenised text is stored."""
    given = os.environ.get("DLZOO_CACHE_DIR")
    if given:
        return Path(given).expanduser() / "tokens"
    import platformdirs

    return Path(platformdirs.user_cache_dir("dlzoo")) / "tokens"


def path_of(fingerprint: str, tokenizer: Tokenizer) -> Path:
    """The file for a source, known by a hash of its bytes, and a tokeniser."""
    name = blake2b(f"{VERSION} {fingerprint} {tokenizer}".encode(), digest_size=16).hexdigest()
    return folder() / f"{name}.npz"


def load(path: Path) -> Corpus | None:
    """What `save` stored, or None where there is nothing, or something that `save` does not write.

    Several users may share a folder, and anyone who can write to it can put another file there.
    """
    if not zipfile.is_zipfile(path) or archives.is_suspicious(path):
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:  # checks the sums of the zip file
            tokens, starts, labels = stored["tokens"], stored["starts"], stored["labels"]
            words = json.loads(stored["words"].tobytes())
    except (OSError, EOFError, ValueError, KeyError, MemoryError, RecursionError, zipfile.BadZipFile, zlib.error):
        return None
    corpus = Corpus(words, tokens, starts, labels)
    return corpus if is_whole(corpus) else None


def is_whole(corpus: Corpus) -> bool:
    """Whether this is a corpus as `tokenise` makes it, so that no number leads out of its list."""
    words, tokens, starts, labels = corpus
    if [(array.dtype, array.ndim) for array in corpus[1:]] != [(np.int32, 1), (np.int64, 1), (np.int64, 1)]:
        return False
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return False
    if len(starts) != len(labels) + 1 or starts[0] != 0 or starts[-1] != len(tokens) or (np.diff(starts) < 0).any():
        return False
    return not len(tokens) or bool(tokens.min() >= 0 and tokens.max() < len(words))


def save(path: Path, corpus: Corpus) -> None:
    """Store a corpus, whole or not at all."""
    words = np.frombuffer(json.dumps(corpus.words).encode(), np.uint8)
    # A cache is a convenience: without it the text is cut anew.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as temporary, temporary.open("wb") as file:
            np.savez(file, words=words, tokens=corpus.tokens, starts=corpus.starts, labels=corpus.labels)
