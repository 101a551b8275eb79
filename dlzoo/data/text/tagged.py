"""Tagged sentences in memory: words, characters and tags fitted on the training sentences."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from dlzoo.data.base import InMemoryData
from dlzoo.data.fingerprint import hash_names
from dlzoo.data.loaders import Loader
from dlzoo.data.text.conll import Sentence, with_begins
from dlzoo.data.text.loaders import LengthLoader
from dlzoo.errors import UserError, at_least, between
from dlzoo.specs.base import Spec, listed
from dlzoo.specs.batch import Batch
from dlzoo.specs.sentences import MAX_CHARACTERS, NO_WORD, UNSEEN_TAG, SentenceSpec, Tags
from dlzoo.specs.targets import few_enough
from dlzoo.specs.tokenizer import PAD, build_vocabulary

Split = Literal["train", "val", "test"]


@dataclasses.dataclass(frozen=True)
class TaggedWords:
    """The sentences of a split, concatenated.

    table: (V, 1 + C) int32, each different word as the net sees it; words: (T,) int64, rows of the table; starts: (N +
    1,) int64, where each sentence begins, and the end; tags: (T,) int64.
    """

    table: Tensor
    words: Tensor
    starts: Tensor
    tags: Tensor

    @property
    def lengths(self) -> Tensor:
        """(N,)"""
        return self.starts.diff()

    @property
    def num_rows(self) -> int:
        return len(self.starts) - 1

    @property
    def num_bytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in (self.table, self.words, self.starts, self.tags))

    def to(self, device: torch.device) -> TaggedWords:
        return TaggedWords(*(t.to(device) for t in (self.table, self.words, self.starts, self.tags)))

    def padded(self, rows: Tensor) -> Batch:
        """The sentences with these indices: words (n, L, 1 + C) int64, and tags (n, L)."""
        starts = self.starts[rows]
        lengths = self.starts[rows + 1] - starts
        steps = torch.arange(int(lengths.max()), device=rows.device)
        beyond = steps >= lengths[:, None]
        places = (starts[:, None] + steps).clamp_(max=len(self.words) - 1)
        x = self.table[self.words[places]].long().masked_fill_(beyond[..., None], PAD)
        return Batch(x, self.tags[places].masked_fill_(beyond, NO_WORD))


class SentenceLoader(LengthLoader):
    """Batches of sentences of similar length, each padded only to its longest one.

    A batch counts by its words: so the mean loss of all ranks, or of accumulated batches, is that of all words.
    """

    def __init__(self, sentences: TaggedWords, batch_size: int, *, shuffle: bool = False, seed: int = 0) -> None:
        super().__init__(sentences.lengths, batch_size, shuffle=shuffle, seed=seed)
        self.sentences = sentences

    def counts(self) -> Tensor:
        return self.lengths

    def iterate(self, start: int) -> Iterator[Batch]:
        for rows in self.batches(self.sentences.tags.device)[start:]:
            yield self.sentences.padded(rows)


class TaggedData(InMemoryData):
    """Sentences whose words have tags.

    Subclasses implement `read` for each split, and define the splits.

    Args:
        batch_size: sentences per training batch over all devices.
        eval_batch_size: sentences per validation or test batch on each device; affects memory only.
        seed: selects the validation sentences, if they are held out, and the order of the batches.
        placement: as for all data in memory.
        lower: words are told apart in lower case; their characters keep their case.
        min_count: words that are less frequent in the training sentences become ``<unk>``.
        max_vocab: maximum vocabulary size including ``<pad>`` and ``<unk>``; the most frequent words are kept.
        max_characters: of a longer word the first and the last characters are kept, half each.
        unseen_tags: of validation and test words whose tag no training word has: refuse, or wrong, where they are no
            part of the loss and count as mistakes.
    """

    kind: ClassVar[type[Spec]] = SentenceSpec
    spec: SentenceSpec

    def __init__(
        self,
        *,
        batch_size: int = 32,
        eval_batch_size: int = 128,
        seed: int = 0,
        placement: Literal["auto", "device", "host"] = "auto",
        lower: bool = True,
        min_count: int = 1,
        max_vocab: int | None = None,
        max_characters: int = 20,
        unseen_tags: Literal["refuse", "wrong"] = "refuse",
    ) -> None:
        super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, seed=seed, placement=placement)
        at_least(3, "data", max_vocab=max_vocab)
        at_least(1, "data", min_count=min_count)
        between(2, MAX_CHARACTERS, "data", max_characters=max_characters)
        self.lower = lower
        self.min_count = min_count
        self.max_vocab = max_vocab
        self.max_characters = max_characters
        self.unseen_tags = unseen_tags
        self._adopted = False
        self._are_spans = False
        self._sentences: dict[Split, list[Sentence]] = {}
        self._encoded: dict[Split, TaggedWords] = {}
        self._notes: list[str] = []

    @abstractmethod
    def read_split(self, split: Split) -> list[Sentence]:
        """The sentences of a split, in a fixed order."""

    @abstractmethod
    def place(self, split: Split) -> str:
        """The file of a split, for messages."""

    def target_key(self) -> str:
        """The option that chooses the tags, for messages."""
        return "data.tag"

    def tags(self) -> Tags:
        """As far as they are known without reading a file: those of a trained model, else one that stands for all."""
        return self.spec.target if self._adopted else Tags(("_",))

    def declare(self) -> SentenceSpec:
        return SentenceSpec(self.tags(), self.lower, max_characters=self.max_characters)

    def notes(self) -> list[str]:
        return self._notes

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        return {}

    def adopt(self, spec: Spec) -> None:
        """Use the vocabulary, the characters and the tags of a trained model."""
        if isinstance(spec, SentenceSpec):
            self.spec = spec
            self._adopted = True
            self._are_spans = spec.target.are_spans

    def setup(self, stage: str | None = None) -> None:
        if stage in (None, "fit", "validate") and "train" not in self._encoded:
            self._set_up_fit()
        if stage in (None, "test", "predict") and "test" not in self._encoded:
            if not self._adopted and "train" not in self._encoded:
                self._set_up_fit()
            self._encoded["test"] = self.encode("test")

    def arrays(self, split: Split) -> TaggedWords:  # type: ignore[override]  # sentences are ragged
        self.setup("test" if split == "test" else "fit")
        return self._encoded[split]

    def load(self, split: Literal["train", "test"]) -> TaggedWords:  # type: ignore[override]  # sentences are ragged
        return self.arrays(split)

    def sentences(self, split: Split) -> list[Sentence]:
        """The sentences of a split; spans that begin with I- begin with B-, as in IOB2."""
        if split not in self._sentences:
            found = self.read_split(split)
            if split == "train" and not self._adopted:
                self._are_spans = Tags(tuple({tag for sentence in found for tag in sentence.tags})).are_spans
            elif not self._adopted:
                self.sentences("train")
            self._sentences[split] = self._with_begins(found, split) if self._are_spans else found
        return self._sentences[split]

    def _with_begins(self, sentences: list[Sentence], split: Split) -> list[Sentence]:
        changed = [sentence._replace(tags=with_begins(sentence.tags)) for sentence in sentences]
        num = sum(
            a != b for old, new in zip(sentences, changed, strict=True) for a, b in zip(old.tags, new.tags, strict=True)
        )
        if num:
            self._notes.append(f"{self.place(split)}: {num:,} spans that begin with I- are read as beginning with B-")
        return changed

    def _set_up_fit(self) -> None:
        train = self.sentences("train")
        if not self._adopted:
            self.spec = self.fit_sentences(train)
        self._encoded |= {"train": self.encode("train"), "val": self.encode("val")}
        if not self._adopted:
            target = self.spec.target.fit(self._encoded["train"].tags)
            self.spec = dataclasses.replace(self.spec, target=target)

    def fit_sentences(self, train: list[Sentence]) -> SentenceSpec:
        """The spec with the words, characters and tags of the training sentences."""
        forms = Counter(word for sentence in train for word in sentence.words)
        words: Counter[str] = Counter()
        characters: Counter[str] = Counter()
        for form, count in forms.items():
            words[form.lower() if self.lower else form] += count
            for character in form:
                characters[character] += count
        names = tuple(sorted({tag for sentence in train for tag in sentence.tags}))
        key = self.target_key()
        if len(names) == 1:
            raise UserError(f"{key}: {self.place('train')} has only one tag, {names[0]!r}: there is nothing to learn")
        few_enough(len(names), key)
        vocabulary = build_vocabulary([*words.items()], min_count=self.min_count, max_vocab=self.max_vocab)
        if len(vocabulary) < 3:
            raise UserError(f"no word of the training sentences occurs data.min_count={self.min_count} times: lower it")
        return dataclasses.replace(
            self.declare(),
            target=Tags(names),
            vocabulary=vocabulary,
            characters=build_vocabulary([*characters.items()]),
        )

    def encode(self, split: Split) -> TaggedWords:
        """The sentences of a split as numbers.

        Raises:
            UserError: a word has a tag that no training word has, unless ``unseen_tags`` says wrong.
        """
        sentences, spec = self.sentences(split), self.spec
        numbers = {tag: i for i, tag in enumerate(spec.target.names)}
        forms: dict[str, int] = {}
        words = [forms.setdefault(word, len(forms)) for sentence in sentences for word in sentence.words]
        tags = [numbers.get(tag, UNSEEN_TAG) for sentence in sentences for tag in sentence.tags]
        if UNSEEN_TAG in tags:
            self._report_unseen(split, numbers, tags.count(UNSEEN_TAG))
        starts = np.cumsum([0, *(len(sentence.words) for sentence in sentences)])
        table = torch.tensor([spec.encode_word(form) for form in forms], dtype=torch.int32)
        return TaggedWords(table, torch.tensor(words), torch.from_numpy(starts), torch.tensor(tags))

    def _report_unseen(self, split: Split, numbers: dict[str, int], num: int) -> None:
        pairs = (pair for sentence in self.sentences(split) for pair in zip(sentence.tags, sentence.lines, strict=True))
        tag, line = next((tag, line) for tag, line in pairs if tag not in numbers)
        if self.unseen_tags == "refuse":
            raise UserError(
                f"{self.place(split)}, line {line}: no training word has the tag {tag!r}; their tags are "
                f"{listed(tuple(numbers))}. Correct it, or set data.unseen_tags=wrong, which counts it as a mistake"
            )
        self._notes.append(f"{self.place(split)}: {num:,} words have tags that no training word has, such as {tag}")

    def fit_ids(self) -> tuple[np.ndarray, np.ndarray]:
        return self._ids("train"), self._ids("val")

    def test_ids(self) -> np.ndarray:
        return self._ids("test")

    def _ids(self, split: Split) -> np.ndarray:
        """A sentence is identified by its words and their tags."""
        return hash_names("\n".join([*s.words, "", *s.tags]) for s in self.sentences(split))

    def _loader(self, split: Split, batch_size: int, shuffle: bool = False) -> Loader:
        sentences = self.arrays(split)
        return SentenceLoader(
            sentences.to(self._home(sentences.num_bytes)), batch_size, shuffle=shuffle, seed=self.seed
        )
