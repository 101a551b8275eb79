"""Golden runs: short seeded runs whose losses, weights and metrics must not change unintentionally.

    python scripts/golden.py write folder=/tmp/before            all families, about three minutes on one core
    python scripts/golden.py write folder=/tmp/after only=gan,dqn
    python scripts/golden.py compare folder=/tmp/before other=/tmp/after

`write` writes ``golden.json``: for each run a digest of all weights, all metrics, and the training loss of every step.
Two checkouts behave identically if their files are equal, on the same machine with the same versions.
tests/runs/test_golden.py compares the first steps of every experiment with tests/golden/ by the same functions.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from dlzoo.commands import cli
from dlzoo.config import compose as config
from dlzoo.errors import UserError
from scripts.machine import cpu_name

COMMON = "trainer=cpu deterministic=true logger=none callbacks=[checkpoint,history]"
RL = "data.steps_per_epoch=300 data.val_episodes=2 data.test_episodes=2"
REVIEWS = "data=text_csv data.path={texts} data.text=text data.target=label"
PAIRS = "data=text_pairs data.path={pairs}"
TAGGED = "data=conll data.path={tagged} data.val_fraction=0.2"
BOOK = "data=text_file data.path={book} data.num_steps=16"

RUNS = {
    # tables
    "perceptron": "model=perceptron data=gates data.gate=and",
    "perceptron_classes": "model=perceptron data=iris",
    "adaline": "model=adaline data=gates data.gate=and",
    "adaline_classes": "model=adaline data=iris scheduler=exponential trainer.accumulate_grad_batches=2",
    "kmeans": "model=kmeans data=iris trainer.max_epochs=4",
    "kmeans_batches": "model=kmeans data=digits task.update=batch task.init_rows=200",
    "linear": "model=linear data=synthetic data.kind=friedman",
    "softmax": "model=softmax data=wine optimizer=sgd",
    "mlp": "model=mlp data=digits net.norm=batch net.dropout=0.2 augment=shift scheduler=cosine",
    "mlp_values": "model=mlp data=synthetic data.kind=friedman task.loss=huber optimizer=rmsprop scheduler=plateau",
    "mlp_weighted": "model=mlp data=wine task.class_weights=balanced task.l2=1e-3 task.activity_l1=1e-3",
    "mlp_smooth": "model=mlp data=digits task.label_smoothing=0.1 optimizer=nadam scheduler=onecycle",
    "mlp_focal": "model=mlp data=digits task.loss=focal optimizer=adamw scheduler=exponential scheduler.warmup=0.5",
    "mlp_bf16": "model=mlp data=digits trainer.precision=bf16-mixed trainer.gradient_clip_val=1",
    "mlp_lbfgs": "model=mlp data=iris optimizer=lbfgs",
    "mlp_csv": "model=mlp data=csv data.path={table} data.target=y",
    "wide_deep": "model=wide_deep data=synthetic data.kind=friedman",
    "wide_deep_classes": "model=wide_deep data=wine task.loss_weights={{main:0.7,auxiliary:0.3}}",
    # images
    "lenet_accumulated": "model=lenet trainer.accumulate_grad_batches=3 callbacks=[checkpoint,history,ema]",
    "lenet_mixed": "model=lenet augment=[flips,mixup] optimizer=momentum scheduler=step",
    "lenet_cut": "model=lenet augment=[cutmix,erasing] optimizer=nesterov",
    "cnn": "model=cnn optimizer=adadelta",
    "cnn_pool": "model=cnn_pool augment=rotate_shift_shear_zoom",
    "fast_cnn": "model=fast_cnn augment=randaugment",
    "filters": "model=filters",
    "resnet20": "model=resnet20 trainer.limit_train_batches=3",
    "resnet20_features": "model=resnet20 transfer=features net.weights={resnet20} trainer.limit_train_batches=3",
    "resnet20_cached": "model=resnet20 transfer=features cache_features=true net.weights={resnet20} "
    "trainer.limit_train_batches=3",
    "resnet20_finetuned": "model=resnet20 transfer=finetune net.weights={resnet20} trainer.limit_train_batches=3",
    "resnet20_gradual": "model=resnet20 transfer=gradual net.weights={resnet20} trainer.limit_train_batches=3",
    "vgg16": "model=vgg16 trainer.limit_train_batches=1 trainer.max_epochs=1 data.batch_size=2 "
    "trainer.limit_val_batches=1 trainer.limit_test_batches=1 data.eval_batch_size=2",
    "reader": "model=reader",
    # sequences
    "nar": "model=nar data=air_passengers",
    "rnn": "model=rnn data=air_passengers",
    "lstm": "model=lstm data=air_passengers net.num_layers=2 net.dropout=0.1",
    "gru_stateful": "model=gru data=air_passengers net.stateful=true data.window=8 data.batch_size=2",
    "peephole_lstm": "model=peephole_lstm data=air_passengers",
    "nbeats": "model=nbeats data=air_passengers data.origins=2 net.num_units=16",
    "tcn": "model=tcn data=air_passengers net.num_filters=8",
    "anomaly_forecast": "model=anomaly_forecast data=anomalies data.horizon=100",
    "anomaly_autoencoder": "model=anomaly_autoencoder data=anomalies data.horizon=100",
    "jordan": "model=jordan data=air_passengers",
    "sequence_cnn": "model=sequence_cnn data=counting",
    "counting_rnn": "model=counting_rnn data=counting",
    "bilstm": f"model=bilstm {REVIEWS}",
    "rnn_classifier": f"model=rnn_classifier {REVIEWS}",
    "text_cnn": f"model=text_cnn {REVIEWS}",
    "fasttext": f"model=fasttext {REVIEWS} net.num_buckets=500 net.dropout=0.2",
    "transformer_classifier": f"model=transformer_classifier {REVIEWS} net.num_units=16",
    "tagger": f"model=tagger {TAGGED} net.num_units=16",
    "tagger_crf": f"model=tagger {TAGGED} net.num_units=16 net.crf=true",
    "transformer_tagger": f"model=transformer_tagger {TAGGED} net.num_units=16",
    "char_rnn": f"model=char_rnn {BOOK}",
    "word_rnn": f"model=word_rnn {BOOK} data.level=word",
    "gpt": f"model=gpt {BOOK} net.num_units=32 net.num_layers=2",
    "gpt_pieces": f"model=gpt {BOOK} net.num_units=32 net.num_layers=2 net.positions=rotary "
    "data.level=bpe data.max_vocab=60",
    "seq2seq": "model=seq2seq data=digit_sequences data.num_samples=300 net.num_units=16",
    "seq2seq_attention": f"model=seq2seq_attention {PAIRS} net.num_units=16 task.scheduled_sampling=0.5",
    "transformer": f"model=transformer {PAIRS} net.num_units=16 task.label_smoothing=0.1",
    "glove": f"model=glove {BOOK} data.level=word",
    "word2vec": f"model=word2vec {BOOK} data.level=word",
    "word2vec_cbow": f"model=word2vec {BOOK} data.level=word task.architecture=cbow net.output=hierarchical_softmax",
    # autoencoders, generative
    "autoencoder": "model=autoencoder",
    "sparse_autoencoder": "model=sparse_autoencoder",
    "denoising_autoencoder": "model=denoising_autoencoder",
    "stacked_autoencoder": "model=stacked_autoencoder net.encoder=[32,16] task.pretrain_epochs=1",
    "contractive_autoencoder": "model=contractive_autoencoder",
    "conv_autoencoder": "model=conv_autoencoder net.num_filters=[8,8]",
    "vae": "model=vae task.num_importance_samples=3",
    "conv_vae": "model=conv_vae net.width=8 net.hidden=32 task.num_importance_samples=3",
    "cvae": "model=cvae task.num_importance_samples=3",
    "gan": "model=gan scheduler=cosine",
    "gan_clipped": "model=gan trainer.gradient_clip_val=1 trainer.accumulate_grad_batches=2 task.real_penalty=1",
    "dcgan": "model=dcgan net.width=4 callbacks=[checkpoint,history,ema]",
    "cgan": "model=cgan",
    "wgan_gp": "model=wgan_gp net.width=4 task.discriminator_steps=2",
    # agents
    "dqn": f"model=dqn data=cartpole {RL} task.learning_starts=100",
    "dqn_options": f"model=dqn data=cartpole {RL} task.learning_starts=100 task.double=true task.prioritized=true "
    "task.num_steps_return=3 net.dueling=true data.num_envs=2 scheduler=cosine",
    "q_table": f"model=q_table data=frozen_lake {RL}",
    "random": f"model=random data=cartpole {RL}",
}
"""Overrides of a short run of each family, and of features that apply to several families."""


def write_data(folder: Path) -> dict[str, str]:
    """Generate small user files: a table, labelled texts, and running text; returns their paths by name."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [(i % 7, "ab"[i % 2], i * i % 11, 3.0 * (i % 7) - i * i % 11) for i in range(120)]
    table = "a,b,c,y\n" + "".join(f"{a},{b},{c},{y + 0.25}\n" for a, b, c, y in rows)
    vocabulary = ["the", "film", "was", "so", "very", "long", "and", "bright", "we", "saw", "it", "again", "today"]
    lines = [" ".join(vocabulary[(i * k) % len(vocabulary)] for k in range(1, 6 + i % 5)) for i in range(120)]
    texts = "text,label\n" + "".join(
        f"{line} {('bad', 'good')[i % 2]},{('no', 'yes')[i % 2]}\n" for i, line in enumerate(lines)
    )
    files = {"table": ("table.csv", table), "texts": ("texts.csv", texts), "book": ("book.txt", "\n".join(lines * 3))}
    files["pairs"] = ("pairs.tsv", "".join(f"{line}\t{' '.join(reversed(line.split()))}\n" for line in lines))
    tagged = "\n\n".join("\n".join(f"{word} T{len(word) % 4}" for word in line.split()) for line in lines)
    files["tagged"] = ("tagged.txt", tagged)
    for name, content in files.values():
        (folder / name).write_text(content, encoding="utf-8")
    return {key: str(folder / name) for key, (name, _) in files.items()}


@contextlib.contextmanager
def recorded_losses() -> Iterator[dict[str, list[float]]]:
    """Record every mean that a training step logs, in order, by name."""
    from dlzoo.tasks.base import Task
    from dlzoo.tasks.rl.agent import Agent

    losses: dict[str, list[float]] = {}
    track, add_mean = Task.log_step, Agent.add_mean

    def record(name: str, value: Any) -> None:
        losses.setdefault(name, []).append(float(value.detach()))

    def recorded_track(self: Any, count: Any, **means: Any) -> None:
        for name, value in means.items():
            record(name, value)
        track(self, count, **means)

    def recorded_mean(self: Any, name: str, mean: Any, count: int) -> None:
        record(name, mean)
        add_mean(self, name, mean, count)

    with mock.patch.object(Task, "log_step", recorded_track), mock.patch.object(Agent, "add_mean", recorded_mean):
        yield losses


def run(overrides: Sequence[str], folder: Path) -> dict[str, Any]:
    """Run training; returns its losses, metrics, number of parameters and steps, and a digest of the final weights."""
    import torch

    from dlzoo.training.run import run as run_training

    torch.set_num_threads(1)
    with recorded_losses() as losses, quiet():
        outcome = run_training(config.compose(overrides), folder, list(overrides))
    content = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True, map_location="cpu")
    return {
        "losses": losses,
        "metrics": outcome["metrics"],
        "num_parameters": outcome["num_parameters"],
        "steps": outcome["steps"],
        "weights": digest_of(content["state_dict"]),
    }


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress the output of a run."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def digest_of(state_dict: dict[str, Any]) -> str:
    """Digest of the values of all tensors, in the order of their names.

    The names are not part of it, since renaming a layer does not change weights.
    """
    digest = hashlib.sha256()
    for _, tensor in sorted(state_dict.items()):
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def platform_of_run() -> dict[str, str]:
    """What must match for results to be bitwise identical."""
    import torch

    return {
        "torch": torch.__version__,
        "processor": cpu_name(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }


def differences(before: Any, after: Any, path: str = "", *, tolerance: float = 0.0) -> list[str]:
    """The differences between two recorded runs.

    Args:
        tolerance: for numbers, relative to the larger one or to 1.
    """
    if isinstance(before, dict) and isinstance(after, dict):
        changes = [f"{path}.{key}: only in one of them" for key in sorted(before.keys() ^ after.keys())]
        shared = sorted(before.keys() & after.keys())
        return changes + [
            d for key in shared for d in differences(before[key], after[key], f"{path}.{key}", tolerance=tolerance)
        ]
    if isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            return [f"{path}: {len(before)} and {len(after)} values"]
        pairs = enumerate(zip(before, after, strict=True))
        return [d for i, (a, b) in pairs for d in differences(a, b, f"{path}[{i}]", tolerance=tolerance)]
    if isinstance(before, int | float) and isinstance(after, int | float):
        if math.isnan(before) and math.isnan(after):
            return []
        close = abs(before - after) <= tolerance * max(abs(before), abs(after), 1.0)
        return [] if before == after or close else [f"{path}: {before!r} and {after!r}"]
    return [] if before == after else [f"{path}: {before} and {after}"]


@dataclasses.dataclass
class Options:
    """Options of the command."""

    folder: Path
    other: Path | None = None
    only: str = ""


def write(options: Options) -> None:
    names = options.only.split(",") if options.only else list(RUNS)
    if unknown := {*names} - {*RUNS}:
        raise UserError(f"only={min(unknown)}: unknown run; choose from {', '.join(RUNS)}")
    paths = write_data(options.folder / "data")
    paths["resnet20"] = str(options.folder / "resnet20" / "checkpoints" / "last.ckpt")  # from an earlier run
    results: dict[str, Any] = {"platform": platform_of_run(), "runs": {}}
    for name in names:
        overrides = [*COMMON.split(), "trainer.max_epochs=2", *RUNS[name].format(**paths).split()]
        started = time.perf_counter()
        results["runs"][name] = run(overrides, options.folder / name)
        print(f"{name:24} {results['runs'][name]['weights']} {time.perf_counter() - started:5.1f} s", flush=True)
        (options.folder / "golden.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def compare(options: Options) -> None:
    if options.other is None:
        raise UserError("other is missing: give the folder with the other checkout's golden.json")
    before, after = (json.loads((folder / "golden.json").read_text()) for folder in (options.folder, options.other))
    changes = differences(before, after)
    for line in changes:
        print(line)
    print(f"{len(before['runs'])} runs, {len(changes)} differences")
    if changes:
        sys.exit(1)


def main(argv: Sequence[str]) -> None:
    actions = {"write": write, "compare": compare}
    if not argv or argv[0] not in actions:
        raise UserError(f"{' '.join(argv) or 'nothing'}: give write or compare; see --help")
    options, _ = cli.parse(Options, argv[1:])
    actions[argv[0]](options)


if __name__ == "__main__":
    cli.execute(main, __doc__)
