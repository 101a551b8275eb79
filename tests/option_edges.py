"""Every option of every part at its edges: the words of a run for each, for the test beside it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from dlzoo.config import groups, nested, source
from dlzoo.config.schema import RUNTIME_ARGUMENTS
from dlzoo.config.yaml_files import CONFIG_DIR

EDGES = (
    "0", "-1", "null", "1000000000000", "1e300", "1e-300", "true", "abc", "[]", "[0]", "[-1]", "[1000000000000]",
    "{a: 1}",
)  # fmt: skip
"""Zero, below it, nothing, huge, tiny, and of another kind."""
SMOKE = (
    "trainer=smoke", "trainer.accelerator=cpu", "trainer.max_time=00:00:00:10", "callbacks=none", "logger=none",
)  # fmt: skip
DATA = {
    "dlzoo.specs.inputs.ImageSpec": "digits",
    "dlzoo.specs.inputs.TableSpec": "iris",
    "dlzoo.specs.inputs.TextSpec": "text_csv",
    "dlzoo.specs.sentences.SentenceSpec": "conll",
    "dlzoo.specs.inputs.SeriesSpec": "air_passengers",
    "dlzoo.specs.inputs.SequenceSpec": "counting",
    "dlzoo.specs.environments.EnvSpec": "cartpole",
    "dlzoo.specs.environments.StatesSpec": "frozen_lake",
    "dlzoo.specs.named.NamedSpec": "csv",
    "dlzoo.specs.ratings.RatingsSpec": "ratings",
    "dlzoo.specs.audio.AudioSpec": "tones",
}
"""Data of each kind that need no download."""
MODELS = {
    "dlzoo.specs.inputs.ImageSpec": "softmax",
    "dlzoo.specs.inputs.TableSpec": "mlp",
    "dlzoo.specs.inputs.TextSpec": "text_cnn",
    "dlzoo.specs.sentences.SentenceSpec": "tagger",
    "dlzoo.specs.inputs.SeriesSpec": "nar",
    "dlzoo.specs.inputs.SequenceSpec": "counting_rnn",
    "dlzoo.specs.environments.EnvSpec": "random",
    "dlzoo.specs.ratings.RatingsSpec": "ratings_rbm",
    "dlzoo.specs.audio.AudioSpec": "audio_cnn",
}
"""A small model for each kind of data."""
LEARNERS = {"text_file": "char_rnn", "patterns": "hopfield", "colors": "som"} | dict.fromkeys(
    ("digit_sequences", "text_pairs"), "seq2seq"
)
"""The model of data that others of their kind cannot learn."""
LEARNS = {
    "boltzmann_machine": "patterns",
    "linear": "synthetic",
    "char_rnn": "text_file",
    "word_rnn": "text_file",
    "gpt": "text_file",
    **dict.fromkeys(("seq2seq", "seq2seq_attention", "transformer"), "digit_sequences"),
}
"""The data of models that learn other targets than those of `DATA`."""
SKIPPED_DATA = {"mnist", "fashion_mnist", "cifar10", "california_housing", "imdb", "sentiment_sentences", "conllu"} | {
    "sentences_stream",
    "spa_eng",
    "tiny_shakespeare",
    "image_folder",
    "spoken_digits",
    "audio_folder",
    "image_csv",
    "box_files",
}
"""They are downloaded, or the options are those of `InMemoryData` and of readers that other tests feed."""
SMALL_BACKBONES = ("resnet18", "timm")
"""Of each library the first to try; on few images, since these are enlarged."""
SETTINGS = (
    "seed", "deterministic", "compile", "cache_features", "profile", "test", "on_nan", "skip_limit", "lr_find", "quiet",
    "expect", "grid", "sweep", "trust", "ckpt", "resume", "data_dir", "output_dir",
)  # fmt: skip


class Case(NamedTuple):
    """A run with one option at an edge."""

    group: str
    words: tuple[str, ...]
    """What chooses the part, without `SMOKE`."""
    option: str
    edge: str

    def argv(self, files: Path) -> list[str]:
        """The command line of the run.

        Args:
            files: a folder with the files of `write_files`.
        """
        words = [word.replace("FILES", str(files)) for word in self.words]
        return [*SMOKE, *words, f"{self.option}={self.edge}"]


def write_files(folder: Path) -> None:
    """The files that data with a path read."""
    rows = "".join(f"{i},{i * i % 7},{'ab'[i % 2]},k{i % 3}\n" for i in range(40))
    (folder / "table.csv").write_text("a,b,c,y\n" + rows)
    (folder / "texts.csv").write_text(
        "t,y\n" + "".join(f"{'good' if i % 2 else 'bad'} film {i},{i % 2}\n" for i in range(40))
    )
    (folder / "words.txt").write_text("".join(f"a{i} X\nb Y\n\n" for i in range(40)))
    (folder / "book.txt").write_text("the quick brown fox jumps over the lazy dog\n" * 60)
    (folder / "pairs.tsv").write_text(
        "".join(f"word{i} and word{i + 1}\tWort{i} und Wort{i + 1}\n" for i in range(0, 90, 2))
    )
    (folder / "series.csv").write_text(
        "month,v\n" + "".join(f"{1990 + i // 12}-{i % 12 + 1:02},{i % 7 + 10}\n" for i in range(90))
    )


FILES = {
    "csv": ("data.path=FILES/table.csv", "data.target=y"),
    "text_csv": ("data.path=FILES/texts.csv", "data.text=t", "data.target=y"),
    "conll": ("data.path=FILES/words.txt",),
    "text_file": ("data.path=FILES/book.txt",),
    "series": ("data.path=FILES/series.csv",),
    "text_pairs": ("data.path=FILES/pairs.tsv",),
    "placed_digits": ("data.num_samples=200", "data.num_test=40"),
}


def cases() -> list[Case]:
    """All of them, each class of a group once, in a fixed order."""
    return [Case(group, words, option, edge) for group, words, option in _options() for edge in EDGES]


def sample(num: int, seed: int = 0) -> list[Case]:
    """Some cases, at least one of each group if there are enough."""
    by_group: dict[str, list[Case]] = {}
    for case in cases():
        by_group.setdefault(case.group, []).append(case)
    rng = random.Random(seed)
    for group in by_group.values():
        rng.shuffle(group)
    return [group[i] for i in range(num) for group in by_group.values() if i < len(group)][:num]


def _options() -> Iterator[tuple[str, tuple[str, ...], str]]:
    """(group, what chooses the part, option) of every option."""
    seen: set[str] = set()
    for group, names in groups.names().items():
        if group in ("experiment", "sweep", "transfer"):
            continue
        for name in sorted(names, key=lambda name: name not in SMALL_BACKBONES):
            if group == "data" and name in SKIPPED_DATA:
                continue
            for key, target in _parts(group, name):
                if target in seen:
                    continue
                seen.add(target)
                words = _choice(group, name)
                arguments = source.arguments(target)
                assert arguments is not None, target
                node = key.split(".")[0]
                hidden = (
                    RUNTIME_ARGUMENTS.get(node, set()) if key == node or group in ("callbacks", "logger") else set()
                )
                for option in sorted(arguments.names - hidden):
                    yield group, words, f"{key}.{option}"
    for setting in SETTINGS:
        yield "settings", ("model=softmax", "data=iris"), setting


def _parts(group: str, name: str) -> list[tuple[str, str]]:
    """(key, class) of the parts that a config sets."""
    content: Any = yaml.safe_load((CONFIG_DIR / group / f"{name}.yaml").read_text()) or {}
    nodes = {"data.augment": content} if group == "augment" else content if group == "model" else {group: content}
    return [
        (key, str(part["_target_"]))
        for node, value in nodes.items()
        for key, part in nested.targets(value, node)
        if not (group == "model" and node not in ("net", "task"))
    ]


def _choice(group: str, name: str) -> tuple[str, ...]:
    """The words that choose a part, with what it needs to run."""
    if group == "model":
        content = yaml.safe_load((CONFIG_DIR / "model" / f"{name}.yaml").read_text())
        accepted = source.declared_classes(content["net"]["_target_"], "accepts") or []
        data = LEARNS.get(name, DATA[accepted[-1] if len(accepted) > 1 and name != "reader" else accepted[0]])
        inputs = ("data.inputs={left: [a], right: [b]}",) if data == "csv" else ()
        kind = ("data.kind=line",) if data == "synthetic" else ()
        named = ("net.name=resnet18",) if name == "timm" else ()
        few = ("data.batch_size=4",) if name in SMALL_BACKBONES else ()
        return f"model={name}", f"data={data}", *FILES.get(data, ()), *inputs, *kind, *named, *few
    if group == "data":
        content = yaml.safe_load((CONFIG_DIR / "data" / f"{name}.yaml").read_text())
        kind = (source.declared_classes(content["_target_"], "kind") or ["dlzoo.specs.inputs.ImageSpec"])[0]
        return (
            f"model={LEARNERS[name] if name in LEARNERS else MODELS[kind]}",
            f"data={name}",
            *FILES.get(name, ()),
            *(("data.id=CartPole-v1",) if name == "gym" else ()),
        )
    data = "digits" if group == "augment" else "iris"
    return "model=softmax", f"data={data}", f"{group}={name}"
