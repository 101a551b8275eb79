"""Word vectors after a test: analogies, a map of frequent words, TensorBoard's PROJECTOR."""

from __future__ import annotations

import io

import lightning.pytorch as pl
import torch

from dlzoo.callbacks.base import Report
from dlzoo.callbacks.projector import MAX_VALUES
from dlzoo.callbacks.sinks import publish, publish_embedding, run_folder
from dlzoo.errors import at_least, visible
from dlzoo.inference.words import Words
from dlzoo.metrics import analogies
from dlzoo.tasks.base import Task
from dlzoo.utils import csv_writer as csv_files
from dlzoo.utils.download import find, folder_of
from dlzoo.utils.files import open_text
from dlzoo.visualization import latent
from dlzoo.visualization import words as pictures

QUESTIONS = "questions-words.txt"
FEWEST = 5
"""Words; a map of fewer says nothing."""
NUM_NEIGHBOURS = 8


class WordReport(Report):
    """Test metrics analogies, the share of right answers, and analogies_known, the share of the questions whose words
    are all known, where there is the file questions-words.txt.

    Writes analogies.png and analogies.csv, the same by section; words_pca.png and words_tsne.png, maps of frequent
    words; neighbours.csv, the words that are most similar to each of them; and the vectors for TensorBoard's PROJECTOR.

    Args:
        data_dir: the folder of all data sets, where questions-words.txt may lie.
        num_words: on the maps, the most frequent ones behind the first ``skip``.
        skip: most frequent words, of little meaning, that the maps leave out.
        most: words that questions are asked about and answered with, the most frequent ones.
    """

    def __init__(self, *, data_dir: str = "data", num_words: int = 300, skip: int = 100, most: int = 30_000) -> None:
        at_least(0, "callbacks.words", num_words=num_words, skip=skip)
        at_least(1, "callbacks.words", most=most)
        self.data_dir = folder_of(data_dir)
        self.num_words, self.skip, self.most = num_words, skip, most
        self.scores: list[analogies.Score] = []

    def applies_to(self, task: Task) -> bool:
        return task.as_word_vectors() is not None

    def measure(self, trainer: pl.Trainer, task: Task) -> None:
        self.scores = []
        path = find(self.data_dir, QUESTIONS)
        if path is None:
            return
        words = self.words_of(task)
        sections = analogies.read_questions(path)
        self.scores = list(analogies.scores(sections, words.words, words.units, most=self.most, lower=words.lower))
        known, total = sum(s.known for s in self.scores), sum(s.total for s in self.scores)
        task.log("test/analogies_known", known / max(total, 1))
        if known:
            task.log("test/analogies", sum(s.right for s in self.scores) / known)

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        words = self.words_of(task)
        if self.scores:
            self.write_scores(trainer)
        finite = bool(words.vectors.isfinite().all())
        first = min(self.skip, max(len(words) - self.num_words, 0))
        shown = slice(first, first + self.num_words)
        names, vectors = words.words[shown], words.units[shown]
        if finite and len(names) >= FEWEST:
            points, axes = latent.planar(vectors)
            title = f"the {len(names)} most frequent words" + f" after the first {first}" * (first > 0)
            publish(trainer, "words_pca", pictures.word_map(points, names, title=title, axes=axes))
            if bool((vectors != vectors[:1]).any()):
                placed = torch.from_numpy(latent.t_sne(vectors))
                publish(trainer, "words_tsne", pictures.word_map(placed, names, title=f"{title}, by t-SNE"))
            self.write_neighbours(trainer, words, names)
        if finite and len(words):
            num = max(MAX_VALUES // words.vectors.shape[1], 1)
            publish_embedding(trainer, "words", words.vectors[:num], words.words[:num])

    def write_scores(self, trainer: pl.Trainer) -> None:
        text = io.StringIO()
        writer = csv_files.Writer(text, lineterminator="\n")
        writer.writerow(["section", "right", "known", "questions"])
        writer.writerows(self.scores)
        with open_text(run_folder(trainer) / "analogies.csv", "w") as file:
            file.write(visible(text.getvalue()))
        asked = [score for score in self.scores if score.known]
        if asked:
            right, known = sum(s.right for s in asked), sum(s.known for s in asked)
            figure = pictures.analogy_scores(
                [score.name for score in asked],
                [score.right / score.known for score in asked],
                [score.known for score in asked],
                title=f"analogies: {right:,} of {known:,} are right, {right / known:.1%}",
            )
            publish(trainer, "analogies", figure)

    def write_neighbours(self, trainer: pl.Trainer, words: Words, names: list[str]) -> None:
        text = io.StringIO()
        writer = csv_files.Writer(text, lineterminator="\n")
        writer.writerow(
            ["word", *(f"{what}_{k}" for k in range(1, NUM_NEIGHBOURS + 1) for what in ("word", "similarity"))]
        )
        for name in names:
            found = words.most_similar(name, NUM_NEIGHBOURS)
            writer.writerow([name, *(cell for word, score in found for cell in (word, f"{score:.3f}"))])
        with open_text(run_folder(trainer) / "neighbours.csv", "w") as file:
            file.write(visible(text.getvalue()))

    def words_of(self, task: Task) -> Words:
        model = task.as_word_vectors()
        assert model is not None
        return Words.of_task(model)
