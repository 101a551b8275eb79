"""Tags after a test: a baseline that knows words only, and the words that are tagged wrong most often."""

from __future__ import annotations

from collections import Counter, defaultdict

import lightning.pytorch as pl

from dlzoo.callbacks.base import Report, Step, data_of
from dlzoo.callbacks.sinks import run_folder, tensorboard
from dlzoo.data.text.conll import Sentence
from dlzoo.data.text.tagged import TaggedData
from dlzoo.distributed.collectives import gather_objects
from dlzoo.errors import at_least, visible
from dlzoo.tasks.base import Task
from dlzoo.utils import csv_writer as csv_files
from dlzoo.utils.files import open_text

Confusion = tuple[str, str, str]
"""Word, its tag, and the predicted one."""


class TagReport(Report):
    """Test metrics baseline/accuracy_frequent_tags, the share of words whose tag is their most frequent one in the
    training sentences, and baseline/accuracy_unknown_frequent_tags, that of the words which the vocabulary lacks: they
    get the most frequent tag of words that occur once.

    Writes confused_words.csv, how often which word got which wrong tag, and confused_words.txt, the most frequent ones
    with a sentence for each.

    Args:
        num_words: in the text file, at most.
    """

    needs_data = True

    def __init__(self, *, num_words: int = 40) -> None:
        at_least(1, "callbacks.tags", num_words=num_words)
        self.num_words = num_words
        self.confused: Counter[Confusion] = Counter()
        self.examples: dict[Confusion, tuple[int, int]] = {}
        """The first sentence and word of each."""

    def applies_to(self, task: Task) -> bool:
        return task.spec.target.tags is not None and task.as_predictor() is not None

    def begin_test(self, trainer: pl.Trainer, task: Task) -> None:
        self.confused, self.examples = Counter(), {}

    def collect(self, trainer: pl.Trainer, task: Task, step: Step) -> None:
        data = data_of(trainer)
        if not isinstance(data, TaggedData):
            return
        rows = trainer.test_dataloaders.batches()[step.batch_idx].tolist()  # type: ignore[union-attr]
        sentences, names = data.sentences("test"), task.spec.target.names
        for row, numbers in zip(rows, step.outputs["tags"].tolist(), strict=True):
            sentence = sentences[row]
            for i, (word, tag) in enumerate(zip(sentence.words, sentence.tags, strict=True)):
                if (predicted := names[numbers[i]]) != tag:
                    confusion = (word, tag, predicted)
                    self.confused[confusion] += 1
                    self.examples[confusion] = min((row, i), self.examples.get(confusion, (row, i)))

    def measure(self, trainer: pl.Trainer, task: Task) -> None:
        data = data_of(trainer)
        if isinstance(data, TaggedData) and trainer.is_global_zero:
            known, unknown = frequent_tag_scores(data.sentences("train"), data.sentences("test"), data)
            metrics = {"baseline/accuracy_frequent_tags": known}
            metrics |= {} if unknown is None else {"baseline/accuracy_unknown_frequent_tags": unknown}
            task.log_dict(metrics, rank_zero_only=True)

    def gather(self, trainer: pl.Trainer, task: Task) -> None:
        parts = gather_objects((self.confused, self.examples))
        self.confused = sum((part for part, _ in parts), Counter())
        self.examples = {}
        for _, examples in parts:
            for confusion, place in examples.items():
                self.examples[confusion] = min(place, self.examples.get(confusion, place))

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        data = data_of(trainer)
        if not isinstance(data, TaggedData):
            return
        ordered = sorted(self.confused.items(), key=lambda item: (-item[1], item[0]))
        with open_text(run_folder(trainer) / "confused_words.csv", "w") as file:
            writer = csv_files.Writer(file)
            writer.writerow(["word", "tag", "predicted", "count"])
            writer.writerows([*confusion, count] for confusion, count in ordered)
        sentences = data.sentences("test")
        total = sum(self.confused.values())
        lines = [f"{total:,} words of {len(sentences):,} sentences are tagged wrong; those that are most often:", ""]
        lines.append(f"{'count':>5}  {'word':20} {'tag':10} {'predicted':10} as in")
        for confusion, count in ordered[: self.num_words]:
            row, i = self.examples[confusion]
            word, tag, predicted = confusion
            lines.append(f"{count:5}  {word[:20]:20} {tag:10} {predicted:10} {context(sentences[row].words, i)}")
        report = visible("\n".join(lines)) + "\n"
        with open_text(run_folder(trainer) / "confused_words.txt", "w") as file:
            file.write(report)
        if summary := tensorboard(trainer):
            text = "\n".join(f"    {line}" for line in report.split("\n"))  # a code block in Markdown
            summary.add_text("confused_words", text, trainer.global_step)


def context(words: tuple[str, ...], place: int, around: int = 4) -> str:
    """A word between a few others, in brackets.

    >>> context(("We", "can", "open", "the", "can"), 4, around=2)
    '… open the [can]'
    """
    start, end = max(place - around, 0), place + around + 1
    shown = [*words[start:place], f"[{words[place]}]", *words[place + 1 : end]]
    return " ".join(["…"] * (start > 0) + shown + ["…"] * (end < len(words)))


def frequent_tag_scores(train: list[Sentence], test: list[Sentence], data: TaggedData) -> tuple[float, float | None]:
    """The accuracy of each word's most frequent tag, of all words and of those that the vocabulary lacks, if any.

    Words are told apart by their case; one that no training sentence has in this case is looked up in lower case.
    """
    forms: defaultdict[str, Counter[str]] = defaultdict(Counter)
    lower: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for sentence in train:
        for word, tag in zip(sentence.words, sentence.tags, strict=True):
            forms[word][tag] += 1
            lower[word.lower()][tag] += 1
    once = Counter(tag for tags in forms.values() if tags.total() == 1 for tag in tags)
    overall = Counter(tag for sentence in train for tag in sentence.tags)
    guess = _first(once or overall)
    best, best_lower = ({word: _first(tags) for word, tags in counts.items()} for counts in (forms, lower))
    right, right_unknown, num, num_unknown = 0, 0, 0, 0
    for sentence in test:
        for word, tag in zip(sentence.words, sentence.tags, strict=True):
            predicted = best.get(word) or best_lower.get(word.lower()) or guess
            is_unknown = not data.spec.knows(word)
            num += 1
            num_unknown += is_unknown
            right += predicted == tag
            right_unknown += is_unknown and predicted == tag
    return right / num, right_unknown / num_unknown if num_unknown else None


def _first(counts: Counter[str]) -> str:
    """The most frequent one; of equal ones the first in alphabetical order."""
    return min(counts, key=lambda tag: (-counts[tag], tag))
