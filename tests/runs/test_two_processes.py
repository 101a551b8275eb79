"""Several processes learn what one process learns, whatever the model, the optimizer and what is done beside.

``DLZOO_WRITE_RESULTS=1 pytest -m reliability tests/runs/test_two_processes.py`` tries all of it and writes the
counts for
RESULTS.md. In double precision: there is no rounding that an optimizer could make large, as Adam does with gradients
that are zero but for rounding and a line search with losses that are equal but for it.
"""

from __future__ import annotations

import csv
import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import reliability_tables
from rank_pairs import Group, distances, left_in
from tagged_stand_ins import conllu, sentences

from dlzoo.config.groups import names as names_in_groups

IMAGES = "data.val_size=1200 data.batch_size=47"  # 237 rows of train: the last two are one rank's, the other has none
BOOK = "data=text_file data.path={folder}/book.txt data.batch_size=6 data.num_steps=12 data.val_fraction=0.2"
REVIEWS = "data=text_csv data.path={folder}/reviews.csv data.text=text data.target=label data.batch_size=17"
PAIRS = "data=digit_sequences data.num_samples=300 data.max_digits=4 data.batch_size=47"
TAGGED = "data=conll data.path={folder}/words.conllu data.batch_size=7"
SERIES = "data=air_passengers data.window=8 data.batch_size=13"
VALUES = "data=synthetic data.kind=friedman data.batch_size=47"
TRAINED = "net.weights={folder}/trained/checkpoints/last.ckpt"

FAMILIES = {
    "linear": f"model=linear {VALUES}",
    "softmax": f"model=softmax {IMAGES}",
    "mlp": f"model=mlp {IMAGES}",
    "mlp, values": f"model=mlp {VALUES}",
    "mlp, penalties": f"model=mlp {IMAGES} task.class_weights=balanced task.activity_l1=1 task.activity_l2=1 "
    "task.l1=1e-3 task.l2=1e-3",
    "mlp, BatchNorm": f"model=mlp {IMAGES} net.norm=batch",
    "lenet": f"model=lenet {IMAGES}",
    "cnn": f"model=cnn {IMAGES}",
    "cnn_pool": f"model=cnn_pool {IMAGES} net.dropout=0 net.head_dropout=0",
    "fast_cnn": f"model=fast_cnn {IMAGES}",
    "filters": f"model=filters {IMAGES}",
    "localizer": "model=localizer data=placed_digits data.num_samples=200 data.num_test=60 data.canvas=32 "
    "net.num_filters=[4,8] net.hidden=[8] net.norm=none data.batch_size=47",
    "reader": f"model=reader {IMAGES}",
    "resnet20": f"model=resnet20 {IMAGES}",
    "resnet20, features": f"model=resnet20 {IMAGES} {TRAINED} transfer=features",
    "resnet20, cached": f"model=resnet20 {IMAGES} {TRAINED} transfer=features cache_features=true",
    "resnet20, gradual": f"model=resnet20 {IMAGES} {TRAINED} transfer=gradual trainer.max_epochs=3",
    "perceptron": f"model=perceptron {IMAGES} scheduler=exponential",
    "adaline": f"model=adaline {IMAGES} scheduler=exponential",
    "ratings_rbm": "model=ratings_rbm data=ratings data.num_users=87 data.num_items=12 net.num_hidden=9 "
    "data.batch_size=17",
    "rbf": f"model=rbf {IMAGES} net.num_centers=20 task.center_epochs=2 trainer.max_epochs=3",
    "pca": f"model=pca {IMAGES} net.num_components=9",
    "hopfield": f"model=hopfield {IMAGES} net.num_patterns=60",  # of two batches
    "modern_hopfield": f"model=modern_hopfield {IMAGES} net.num_patterns=60",
    "boltzmann_machine": "model=boltzmann_machine data=patterns data.kind=bars data.repeats=10 data.batch_size=47",
    "boltzmann_machine, sampled": f"model=boltzmann_machine {IMAGES} net.num_hidden=3 task.statistics=sampled "
    "task.noisy_clamping=true task.annealing=[2,1] task.num_sweeps=2 trainer.limit_train_batches=3",
    "kmeans": f"model=kmeans {IMAGES} trainer.max_epochs=4",
    "kmeans, batches": f"model=kmeans {IMAGES} task.update=batch task.init_rows=100",
    "som": f"model=som {IMAGES} task.init=pca",
    "som, online": f"model=som {IMAGES} task.algorithm=online trainer.max_epochs=2",
    "wide_deep": "model=wide_deep data=csv data.path={folder}/table.csv data.target=price data.batch_size=47 "
    "data.weight=weight",
    "siamese": "model=siamese data=csv data.path={folder}/table.csv data.batch_size=47 data.weight=weight "
    "data.inputs={{one:[size],other:[price]}} data.target={{rooms:rooms,colour:colour}} "
    "data.problem={{rooms:regression}} data.standardize=true task.loss_weights={{colour:0.5}} "
    "task.class_weights={{colour:balanced}}",
    "autoencoder": f"model=autoencoder {IMAGES} task.activity_l1=0.1 task.activity_l2=0.1",
    "sparse_autoencoder": f"model=sparse_autoencoder {IMAGES} net.encoder=[32] task.sparsity_weight=0.1",
    "contractive_autoencoder": f"model=contractive_autoencoder {IMAGES} task.contraction=0.1",
    "denoising_autoencoder": f"model=denoising_autoencoder {IMAGES}",
    "stacked_autoencoder": f"model=stacked_autoencoder {IMAGES} net.encoder=[32,16] task.pretrain_epochs=1 "
    "trainer.max_epochs=3",
    "conv_autoencoder": f"model=conv_autoencoder {IMAGES}",
    "vae": f"model=vae {IMAGES} task.num_importance_samples=3 task.binarize=dynamic task.kl_warmup=1",
    "cvae": f"model=cvae {IMAGES} task.num_importance_samples=3",
    "conv_vae": f"model=conv_vae {IMAGES} task.num_importance_samples=3",
    "rbm": f"model=rbm {IMAGES} net.num_hidden=32 task.num_steps=2 task.num_betas=20",
    "rbm, persistent": f"model=rbm {IMAGES} net.num_hidden=32 task.num_chains=15 task.num_betas=20",
    "dbn": f"model=dbn {IMAGES} net.hidden=[24,16] task.pretrain_epochs=1 trainer.max_epochs=3",
    "gan": f"model=gan {IMAGES} net.dropout=0 task.real_penalty=1 task.penalty_every=2 task.discriminator_steps=2",
    "cgan": f"model=cgan {IMAGES} net.dropout=0",
    "dcgan": f"model=dcgan {IMAGES} net.width=4",
    "wgan_gp": f"model=wgan_gp {IMAGES} net.width=4",
    "rnn": f"model=rnn {SERIES}",
    "lstm": f"model=lstm {SERIES}",
    "gru, stateful": f"model=gru {SERIES} net.stateful=true data.batch_size=3",
    "peephole_lstm": f"model=peephole_lstm {SERIES}",
    "nar": f"model=nar {SERIES}",
    "anomaly_forecast": "model=anomaly_forecast data=anomalies data.horizon=100 data.batch_size=37",
    "anomaly_autoencoder": "model=anomaly_autoencoder data=anomalies data.horizon=100 data.batch_size=37",
    "nbeats": f"model=nbeats {SERIES}",
    "tcn": f"model=tcn {SERIES}",
    "jordan": f"model=jordan {SERIES}",
    "sequence_cnn": "model=sequence_cnn data=counting data.batch_size=19 net.num_filters=[8,8] net.kernel_sizes=[5,3]",
    "counting_rnn": "model=counting_rnn data=counting data.batch_size=19 data.length=3",
    "char_rnn": f"model=char_rnn {BOOK} net.num_units=32",
    "word_rnn": f"model=word_rnn {BOOK} data.level=word net.dropout=0",
    "gpt": f"model=gpt {BOOK} net.num_units=32 net.dropout=0",
    "seq2seq": f"model=seq2seq {PAIRS} net.num_units=16 net.embedding=8",
    "seq2seq_attention": f"model=seq2seq_attention {PAIRS} net.num_units=16 net.embedding=8 "
    "task.scheduled_sampling=0.5 trainer.max_epochs=3",
    "transformer": f"model=transformer {PAIRS} net.num_units=16 net.dropout=0 task.label_smoothing=0.1",
    "text_cnn": f"model=text_cnn {REVIEWS} net.dropout=0 net.embedding_dropout=0",
    "fasttext": f"model=fasttext {REVIEWS} net.num_buckets=500",
    "transformer_classifier": f"model=transformer_classifier {REVIEWS} net.num_units=16 net.dropout=0 "
    "net.embedding_dropout=0",
    "tagger": f"model=tagger {TAGGED} net.num_units=16 net.dropout=0 net.embedding_dropout=0 net.word_dropout=0",
    "tagger, crf": f"model=tagger {TAGGED} net.num_units=16 net.dropout=0 net.embedding_dropout=0 net.word_dropout=0 "
    "net.crf=true",
    "transformer_tagger": f"model=transformer_tagger {TAGGED} net.num_units=16 net.dropout=0 net.embedding_dropout=0 "
    "net.word_dropout=0",
    "bilstm": f"model=bilstm {REVIEWS} net.dropout=0",
    "rnn_classifier": f"model=rnn_classifier {REVIEWS} net.dropout=0",
}
"""Each model with what may be no mean over samples; what draws for parts of a batch is switched off: see `APART`."""

AS_RESNET = "net of a library, as resnet20"
NOT_HERE = {
    **dict.fromkeys(("dqn", "q_table", "random"), "agents learn in one process, and say so"),
    **dict.fromkeys(("audio_cnn", "audio_cnn_raw"), "layers and task of cnn and of resnet20"),
    **dict.fromkeys(("audio_lstm", "wavenet"), "not tried yet"),
    **dict.fromkeys(("glove", "word2vec"), "word vectors are learned in one process, and say so"),
    **dict.fromkeys(
        ("convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "inception_resnet_v2"),
        AS_RESNET,
    ),
    **dict.fromkeys(
        ("inception_v3", "mobilenet_v3", "nasnet", "resnet101", "resnet18", "resnet34", "resnet50", "timm", "vgg16"),
        AS_RESNET,
    ),
    **dict.fromkeys(
        ("vgg16_bn", "vgg19", "xception"),
        AS_RESNET,
    ),
}
APART = {
    "dropout": "each process drops units of its own rows",
    "augmentation": "each process changes its own rows, and MixUp and CutMix blend rows of one process",
}
"""What several processes do otherwise than one: it is drawn by layers and libraries that know of one process only."""

OPTIMIZERS = {
    "sgd": "optimizer=sgd optimizer.lr=0.01",
    "adam": "optimizer=adam",
    "lbfgs": "optimizer=lbfgs optimizer.max_iter=3",
}
BESIDE = {
    "plain": "",
    "ema": "callbacks=[checkpoint,history,ema]",
    "accumulation": "trainer.accumulate_grad_batches=4",  # the last step of an epoch has fewer
    "clipping": "trainer.gradient_clip_val=0.05",
    "mixup": "augment=mixup",
}
QUICK = ("trainer.max_epochs=1", "callbacks=[checkpoint,history]", "trainer.precision=64-true")

THIN = [
    ("sparse_autoencoder", "adam", "plain"),
    ("stacked_autoencoder", "sgd", "plain"),
    ("perceptron", "sgd", "plain"),
    ("perceptron", "adam", "clipping"),
    ("adaline", "sgd", "accumulation"),
    ("perceptron", "sgd", "accumulation"),
    ("pca", "sgd", "plain"),
    ("rbf", "sgd", "plain"),
    ("ratings_rbm", "sgd", "accumulation"),
    ("hopfield", "sgd", "plain"),
    ("boltzmann_machine", "adam", "accumulation"),
    ("boltzmann_machine, sampled", "sgd", "clipping"),
    ("kmeans", "sgd", "plain"),
    ("som", "sgd", "plain"),
    ("som, online", "sgd", "plain"),
    ("kmeans, batches", "sgd", "accumulation"),
    ("rbm", "sgd", "accumulation"),
    ("rbm, persistent", "sgd", "plain"),
    ("dbn", "sgd", "plain"),
    ("mlp, penalties", "lbfgs", "plain"),
    ("char_rnn", "adam", "clipping"),
    ("gpt", "adam", "clipping"),
    ("seq2seq_attention", "sgd", "accumulation"),
    ("transformer", "adam", "plain"),
    ("fasttext", "sgd", "plain"),
    ("transformer_classifier", "adam", "accumulation"),
    ("tagger", "adam", "accumulation"),
    ("gan", "adam", "accumulation"),
    ("siamese", "sgd", "plain"),
    ("siamese", "adam", "accumulation"),
    ("wide_deep", "sgd", "plain"),
]
"""What is tried in each run of the tests."""


def words_of(family: str, optimizer: str, beside: str, folder: Path) -> list[str]:
    has_none = family.startswith(("hopfield", "kmeans", "modern_hopfield", "pca", "rbf", "som"))
    chosen = "" if has_none else OPTIMIZERS[optimizer]
    given = f"{chosen} {FAMILIES[family].format(folder=folder)} {BESIDE[beside]}".split()
    keys = {word.partition("=")[0] for word in given}
    return [*(word for word in QUICK if word.partition("=")[0] not in keys), *given]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the families read."""
    made, draw = tmp_path_factory.mktemp("files"), random.Random(0)
    words = ("the", "a", "cat", "dog", "sat", "on", "mat", "ran", "to", "house", "red", "blue", "with", "some", "old")

    def sentence(least: int, most: int) -> list[str]:
        return [draw.choice(words) for _ in range(draw.randint(least, most))]

    (made / "book.txt").write_text("\n".join(" ".join(sentence(4, 12)) for _ in range(120)))
    (made / "words.conllu").write_text(conllu(sentences(90)))
    with (made / "reviews.csv").open("w") as file:
        texts = [
            (" ".join(word + "s" * (i % 2) for word in sentence(2, 14)), ("bad", "good")[i % 2]) for i in range(150)
        ]
        csv.writer(file).writerows([("text", "label"), *texts])
    with (made / "table.csv").open("w") as file:
        rows = [(draw.uniform(0, 10), draw.randint(1, 5), draw.choice(["red", "blue"])) for _ in range(200)]
        prices = [3 * size + rooms + draw.random() for size, rooms, _ in rows]
        weights = [draw.choice([0.5, 1, 2]) for _ in rows]
        csv.writer(file).writerows(
            [
                ("size", "rooms", "colour", "price", "weight"),
                *((*row, p, w) for row, p, w in zip(rows, prices, weights, strict=True)),
            ]
        )
    return made


@pytest.fixture(scope="module")
def groups() -> Iterator[tuple[Group, Group]]:
    both = Group(1), Group(2)
    yield both
    for group in both:
        group.stop()


@pytest.fixture(scope="module")
def trained(folder: Path, groups: tuple[Group, Group]) -> Path:
    """With a backbone that has learnt."""
    groups[0].send(folder / "trained", words_of("resnet20", "adam", "plain", folder))
    assert groups[0].answers(120) == [None]
    return folder


def compare(groups: tuple[Group, Group], words: list[str], folder: Path) -> dict[str, float] | str:
    """How far one process and two are apart, by name; or the sentence with which all of them refuse."""
    one, two = groups
    one.send(folder / "one", words)
    two.send(folder / "two", words)
    (alone,), together = one.answers(120), two.answers(120)
    if alone is not None:
        assert alone.startswith(("UserError", "SpecError")), alone
        assert set(together) == {alone}
        return alone
    assert together == [None, None]
    return distances(left_in(folder / "one"), left_in(folder / "two"))


def assert_equal(found: dict[str, float]) -> None:
    weights = {name: gap for name, gap in found.items() if name.startswith("weights")}
    assert weights
    assert len(found) > len(weights)
    apart = {name: gap for name, gap in found.items() if not gap <= (1e-6 if name in weights else 1e-5)}
    assert not apart


@pytest.mark.parametrize(("family", "optimizer", "beside"), THIN, ids=lambda name: name)
def test_two_processes_learn_what_one_learns(
    family: str, optimizer: str, beside: str, folder: Path, groups: tuple[Group, Group], tmp_path: Path
) -> None:
    found = compare(groups, words_of(family, optimizer, beside, folder), tmp_path)
    assert isinstance(found, dict), found
    assert_equal(found)


@pytest.fixture(scope="module")
def counts() -> Iterator[dict[str, Counter[str]]]:
    counted: dict[str, Counter[str]] = {}
    yield counted
    if not reliability_tables.are_wanted() or not counted:
        return
    columns = ["tried", "refused", "different"]
    stored = reliability_tables.ROOT / "results" / "reliability" / "two_processes.json"
    known = {row[0]: row for row in json.loads(stored.read_text())["rows"]} if stored.is_file() else {}
    known |= {name: [name, *(count[column] for column in columns)] for name, count in counted.items()}
    rows = [known[name] for name in FAMILIES if name in known]  # of the families that are run now, and of the others
    reliability_tables.write(
        __file__,
        "two_processes",
        title="Two processes against one",
        columns=["model", *columns],
        rows=reliability_tables.with_total(rows),
        note=f"Each model with {', '.join(OPTIMIZERS)}, and with each of them {', '.join(BESIDE)}, by one process and "
        "by two (gloo, CPU, double precision). Different: a weight by more than 1e-6, or a metric of training, "
        "validation or test by more than 1e-5. Refused: not possible with this model, which one process says as two "
        f"do. Switched off: {'; '.join(f'{name} ({reason})' for name, reason in APART.items())}; with mixup each row "
        "is blended with itself.",
    )


@pytest.mark.reliability
@pytest.mark.parametrize("family", FAMILIES)
def test_every_combination_of_a_family(
    family: str, trained: Path, groups: tuple[Group, Group], tmp_path: Path, counts: dict[str, Counter[str]]
) -> None:
    count = counts[family] = Counter()
    failures = []
    for i, (optimizer, beside) in enumerate(itertools.product(OPTIMIZERS, BESIDE)):
        count["tried"] += 1
        try:
            found = compare(groups, words_of(family, optimizer, beside, trained), tmp_path / f"{i}")
            count["refused"] += isinstance(found, str)
            assert isinstance(found, dict) or (optimizer, beside) != ("sgd", "plain"), found
            if isinstance(found, dict):
                assert_equal(found)
        except AssertionError as error:
            count["different"] += 1
            failures.append(f"{optimizer}, {beside}: {error}")
    assert not failures


def test_every_model_is_tried_or_there_is_a_reason() -> None:
    tried = {words.split()[0].partition("=")[2] for words in FAMILIES.values()}
    assert tried | NOT_HERE.keys() == set(names_in_groups()["model"])
    assert not tried & NOT_HERE.keys()


# Validation and test

JUDGED = [
    name
    for name, words in FAMILIES.items()
    if not any(part in words for part in ("resnet", "data=air_passengers", "data=counting"))
]
"""All but the slow ones, and those whose validation and test are one batch, whatever its size: series and counting."""
SIZES = (7, 64, 5000)


def judged(family: str, folder: Path, group: Group, into: Path, size: int) -> dict[str, Any]:
    words = [*words_of(family, "sgd", "plain", folder), f"data.eval_batch_size={size}"]
    group.send(into, words)
    assert group.answers(120) == [None]
    return {name: value for name, value in left_in(into).items() if not name.startswith("weights")}


@pytest.mark.parametrize(
    "family",
    [name if name in ("vae", "char_rnn") else pytest.param(name, marks=pytest.mark.reliability) for name in JUDGED],
)
def test_metrics_do_not_depend_on_the_size_of_a_batch(
    family: str, folder: Path, groups: tuple[Group, Group], tmp_path: Path
) -> None:
    one, *others = (judged(family, folder, groups[0], tmp_path / f"{size}", size) for size in SIZES)
    assert any(name.startswith("test/") for name in one)
    for other in others:
        assert {name: gap for name, gap in distances(one, other).items() if not gap <= 1e-5} == {}
