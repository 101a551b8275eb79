"""Measures the strongest cheap methods on the splits of the experiments, for RESULTS.md.

    python scripts/rivals.py [experiment…] [--seeds N]

Each experiment's data are split as its runs with seeds 0, 1, … split them; hyperparameters are selected on the
validation rows; the test rows are read once. Images: logistic regression, nearest neighbours, ridge regression on
random features of a Gaussian kernel; of images without classes mixtures of independent pixels and of Gaussians; boxes:
ridge regression on pixels. Texts: tf-idf with logistic regression, NB-SVM; tags of words: logistic regression on the
word, its ending and its neighbours. Series: exponential smoothing, ARIMA and complex exponential smoothing
(statsforecast; Holt-Winters is in the runs);
sequences: least squares. Agents: chance, value iteration, a rule written by hand. Clusters: scikit-learn's k-means and
Gaussian mixture. Self-organising maps without labels: MiniSom with equal settings. word2vec: gensim with equal
settings; GloVe: gensim's word2vec. Tables have theirs in the runs. Only the metrics that an experiment claims are
measured.
The values go into ``results/rivals/<experiment>.json``; methods that are stored are not measured again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dlzoo.config import compose as config
from dlzoo.config import groups, run_files
from dlzoo.config.instantiate import build_data
from dlzoo.errors import UserError, nearest, one_line, short
from dlzoo.metrics.generative import ClassifierOutput, class_fractions, measures
from dlzoo.metrics.reference_classifier import load_reference_classifier
from dlzoo.utils import files
from scripts import rival_agents, rival_boxes, rival_clusters, rival_densities, rival_maps, rival_tags, rival_words
from scripts import stored as stored_files
from scripts.results_table import load as load_runs

MAX_CHARACTERS = 2_000_000
"""Of all training texts, up to which n-grams of characters are used; they take minutes for more."""

NUM_SAMPLES = 10_000
"""Of a generator."""

Split = tuple[Any, np.ndarray]
"""Inputs and classes: (N, F) or N texts; (N,)."""
Splits = tuple[Split, Split, Split]
"""Of training, validation and test."""
Methods = Mapping[str, Mapping[str, Callable[[], float]]]
"""Runs of methods by metric and name."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="rivals.py", description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("experiments", nargs="*", metavar="experiment", help="all with stored runs, if none is given")
    parser.add_argument("--seeds", type=int, default=None, help="number of seeds; as many as are stored, if not given")
    options = parser.parse_args(argv)
    root, known = Path.cwd(), groups.names()["experiment"]
    try:
        for name in options.experiments:
            if name not in known:
                raise UserError(f"{name}: unknown experiment; {nearest(name, known)}")
        for name in options.experiments or [name for name in known if load_runs(root, name)["runs"]]:
            measure(name, root, options.seeds)
    except UserError as error:
        sys.exit(f"error: {one_line(error)}")


def measure(name: str, root: Path, num_seeds: int | None) -> None:
    """Measure the missing methods of an experiment, for each seed, and store the values."""
    seeds = (
        [*range(num_seeds)] if num_seeds else sorted({run["seed"] for run in load_runs(root, name)["runs"].values()})
    )
    stored = {metric: {k: [*v] for k, v in methods.items()} for metric, methods in load(root, name).items()}
    for seed in seeds or [0]:
        found = methods_for(name, seed)
        for metric, method, run in [(metric, *each) for metric, methods in found.items() for each in methods.items()]:
            values = stored.setdefault(metric, {}).setdefault(method, [])
            if len(values) > seed:
                continue
            started = time.perf_counter()
            values.append(run())
            print(
                f"{name} seed={seed} {method}: {metric} {values[-1]:.4g}, {time.perf_counter() - started:.0f} s",
                flush=True,
            )
            save(root, name, stored)


def data_of(name: str, seed: int) -> Any:
    """The data module of an experiment, after ``setup``."""
    data: Any = build_data(config_of(name, seed).data)
    data.prepare_data()
    data.setup()
    return data


def config_of(name: str, seed: int, *more: str) -> Any:
    return config.compose([f"experiment={name}", f"seed={seed}", *more])


def methods_for(name: str, seed: int) -> Methods:
    """The methods for each claimed metric; none where the runs have all rivals themselves."""
    cfg = config_of(name, seed)
    claimed = {claim["metric"] for claim in cfg.expect or ()}
    if cfg.names.model == "som" and cfg.names.data == "colors":
        metrics = ("test/quantization_error", "test/topographic_error")
        return {metric: {"minisom": lambda metric=metric: rival_maps.errors(name, seed)[metric]} for metric in metrics}  # type: ignore[misc]
    if cfg.names.model in ("word2vec", "glove"):
        return {"test/analogies": {"gensim": lambda: rival_words.accuracy(name, seed)}}
    data = data_of(name, seed)
    spec = data.spec
    if spec.environment is not None or spec.states is not None:
        found: dict[str, Any] = {"test/return": rival_agents.methods(data)}
    elif spec.texts is not None and spec.target.classes is not None:
        found = {"test/accuracy": of_splits(texts_of, data, {"tfidf": tfidf, "nbsvm": nbsvm})}
    elif spec.target.tags is not None:
        found = {"test/accuracy": {"logistic": lambda: rival_tags.logistic(data, seed)}}
    elif spec.series is not None:
        found = {"test/rmse": {name: lambda name=name: forecast(data, name) for name in FORECASTERS}}
    elif spec.images is not None and any(part.boxes is not None for part in spec.target.by_name.values()):
        found = rival_boxes.methods(data)
    elif spec.images is not None:
        found = image_methods(cfg, data, seed)
    elif cfg.names.model == "kmeans":
        found = cluster_methods(data, seed)
    elif cfg.names.data == "counting":
        found = {"test/rmse": {"least_squares": lambda: least_squares(data)}}
    else:
        found = {}
    return {metric: methods for metric, methods in found.items() if metric in claimed}


def of_splits(read: Callable[[Any], Splits], data: Any, methods: Mapping[str, Callable[[Splits], float]]) -> Any:
    """Methods that take the splits, which are read once, when the first of them runs."""
    splits = cache(lambda: read(data))
    return {name: lambda method=method: method(splits()) for name, method in methods.items()}


def image_methods(cfg: Any, data: Any, seed: int) -> dict[str, Any]:
    """Classifiers, densities, samples and clusters of images."""
    found: dict[str, Any] = cluster_methods(data, seed)
    if data.spec.target.classes is not None:
        classifiers = {"logistic": logistic, "nearest_neighbours": nearest_neighbours, "kernel_ridge": kernel_ridge}
        found["test/accuracy"] = of_splits(images_of, data, classifiers)
        found["test/probe_accuracy"] = of_splits(images_of, data, {"pixels": logistic})
        found |= sampled_methods(data, seed)
    # `binarize` of a VAE is none if nothing is given, that of a Boltzmann machine dynamic.
    binarized = cfg.task.get("binarize", "none" if cfg.names.model == "vae" else "dynamic") == "dynamic"

    def density(splits: Splits, sign: int = 1) -> float:
        (train, _), (val, _), (test, _) = splits
        return sign * rival_densities.bernoulli_mixture(train, val, test, binarized=binarized, seed=seed)

    found["test/log_likelihood"] = of_splits(images_of, data, {"bernoulli_mixture": density})
    found["test/neg_elbo"] = of_splits(images_of, data, {"bernoulli_mixture": lambda splits: density(splits, -1)})
    return found


def sampled_methods(data: Any, seed: int) -> dict[str, Any]:
    """Samples of a mixture of Gaussians, judged as those of generators are."""

    @cache
    def measured() -> dict[str, float]:
        (train, _), _, (test, _) = images_of(data)
        classifier = load_reference_classifier(data.spec, data.read(data.load("train")), torch.device("cpu"))

        def read(rows: np.ndarray) -> ClassifierOutput:
            return ClassifierOutput(*classifier.read(torch.from_numpy(rows).view(-1, *data.spec.shape)))

        generated = read(rival_densities.gaussian_samples(train, NUM_SAMPLES, seed))
        shares = class_fractions(generated.logits)
        shown = measures(generated, read(test[:NUM_SAMPLES]))
        values = {**shown, "smallest_share": float(shares.min()), "largest_share": float(shares.max())}
        return {f"test/{name}": value for name, value in values.items()}

    metrics = ("test/confident_share", "test/smallest_share", "test/largest_share")
    return {metric: {"gaussian_mixture": lambda metric=metric: measured()[metric]} for metric in metrics}


def cluster_methods(data: Any, seed: int) -> dict[str, Any]:
    """scikit-learn's clusterings, with as many clusters as there are classes."""
    if data.spec.target.classes is None:
        return {}
    num = data.spec.target.classes.num_outputs
    rows = cache(lambda split: rival_maps.scaled(data, split))

    def purity(model: Any) -> float:
        return rival_clusters.purity(rows("train"), (rows("test"), data.arrays("test").y.numpy()), model(num, seed))

    def explained_variance() -> float:
        return rival_clusters.explained_variance(rows("train"), rows("test"), rival_clusters.kmeans(num, seed))

    models = {"kmeans": rival_clusters.kmeans, "gaussian_mixture": rival_clusters.gaussian_mixture}
    return {
        "test/purity": {name: lambda model=model: purity(model) for name, model in models.items()},
        "test/explained_variance": {"kmeans": explained_variance},
    }


# Classes of images


def images_of(data: Any) -> Splits:
    """Pixels in [0, 1], flat: training, validation and test."""

    def split(name: str) -> Split:
        arrays = data.arrays(name)
        x = arrays.x.cpu().numpy()
        scale = 255 if x.dtype == np.uint8 else 1
        return x.reshape(len(x), -1).astype(np.float32) / scale, arrays.y.cpu().numpy()

    return split("train"), split("val"), split("test")


def best_on_validation(models: Iterable[Any], splits: Splits) -> float:
    """Test accuracy of the model that is best on the validation rows."""
    (x, y), (val_x, val_y), (test_x, test_y) = splits
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence: a rival needs no more steps than these
        fitted = [model.fit(x, y) for model in models]
    best = max(fitted, key=lambda model: model.score(val_x, val_y))
    return float(best.score(test_x, test_y))


def logistic(splits: Splits) -> float:
    """Logistic regression."""
    from sklearn.linear_model import LogisticRegression

    return best_on_validation((LogisticRegression(C=c, max_iter=100) for c in (0.01, 0.1, 1.0)), splits)


def nearest_neighbours(splits: Splits) -> float:
    """The most frequent class of the 1, 3 or 5 nearest images."""
    from sklearn.neighbors import KNeighborsClassifier

    return best_on_validation((KNeighborsClassifier(k) for k in (1, 3, 5)), splits)


def kernel_ridge(splits: Splits, num_features: int = 4_000) -> float:
    """Ridge regression of classes on random Fourier features of a Gaussian kernel (Rahimi & Recht, 2007)."""
    from sklearn.kernel_approximation import RBFSampler
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import make_pipeline

    widths = (0.01, 0.02, 0.04)
    models = (
        make_pipeline(RBFSampler(gamma=g, n_components=num_features, random_state=0), RidgeClassifier(alpha=1e-2))
        for g in widths
    )
    return best_on_validation(models, splits)


# Classes of texts


def texts_of(data: Any) -> Splits:
    """Texts as they were read: training, validation and test."""

    def split(name: str) -> Split:
        return data.texts(name), data.arrays(name).y.cpu().numpy()

    return split("train"), split("val"), split("test")


def tfidf(splits: Splits) -> float:
    """Logistic regression on the tf-idf of words and pairs of words, of small corpora also of 2 to 5 characters."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    texts = splits[0][0]
    parts = [TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)]
    if sum(map(len, texts)) <= MAX_CHARACTERS:
        parts.append(TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True))
    features = make_union(*parts)
    vectorized = vectorize(features, splits)
    return best_on_validation(
        (make_pipeline(LogisticRegression(C=c, max_iter=1000)) for c in (1.0, 3.0, 10.0, 30.0)), vectorized
    )


def nbsvm(splits: Splits) -> float:
    """Logistic regression on the presence of 1 to 3 words, each scaled by its log-count ratio between the classes.

    S. Wang, C. D. Manning, "Baselines and Bigrams", 2012, for two classes; the loss is that of Mesnil et al., 2014.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    pattern = r"(?u)\b\w+\b|[!?]"  # words of one letter and these marks count too
    vectorizer = CountVectorizer(ngram_range=(1, 3), binary=True, token_pattern=pattern, min_df=1)
    (x, y), val, test = vectorize(vectorizer, splits)
    counts = [1 + np.asarray(x[y == label].sum(axis=0)).ravel() for label in (0, 1)]
    ratio = np.log(counts[1] / counts[1].sum()) - np.log(counts[0] / counts[0].sum())
    scaled = (
        (x.multiply(ratio).tocsr(), y),
        (val[0].multiply(ratio).tocsr(), val[1]),
        (test[0].multiply(ratio).tocsr(), test[1]),
    )
    return best_on_validation((LogisticRegression(C=c, max_iter=1000) for c in (0.1, 1.0, 10.0)), scaled)


def vectorize(features: Any, splits: Splits) -> Splits:
    """Texts as rows of features, fitted on the training texts."""
    (x, y), (val_x, val_y), (test_x, test_y) = splits
    rows = features.fit_transform(x)
    return (rows.tocsr(), y), (features.transform(val_x).tocsr(), val_y), (features.transform(test_x).tocsr(), test_y)


# Series

FORECASTERS = {"auto_ets": "AutoETS", "auto_ces": "AutoCES", "auto_arima": "AutoARIMA"}
"""Classes of statsforecast."""


def forecast(data: Any, method: str) -> float:
    """RMSE over the test period of a forecast from all values before it; orders are selected by statsforecast."""
    try:
        from statsforecast import models
    except ImportError:
        raise UserError("rivals of series need statsforecast: pip install -e '.[rivals]'") from None
    history, truth = (column[0, :, 0].cpu().numpy() for column in data.arrays("test")[:2])
    model = getattr(models, FORECASTERS[method])(season_length=data.spec.series.period)
    predicted = model.forecast(history, h=len(truth))["mean"]
    return float(np.sqrt(np.mean((predicted - truth) ** 2)))


# Sequences


def least_squares(data: Any) -> float:
    """RMSE of a linear function of all inputs."""
    train, test = (
        (np.c_[part.x.flatten(1).numpy(), np.ones(part.num_rows)], part.y.flatten(1).numpy())
        for part in map(data.arrays, ("train", "test"))
    )
    weights = np.linalg.lstsq(*train, rcond=None)[0]
    return float(np.sqrt(np.mean((test[0] @ weights - test[1]) ** 2)))


# Stored values


def path_of(root: Path, name: str) -> Path:
    return root / "results" / "rivals" / f"{name}.json"


def load(root: Path, name: str) -> Mapping[str, Mapping[str, Sequence[float]]]:
    """Stored values by metric and method, one for each seed.

    Raises:
        UserError: the file holds something that `save` does not write.
    """
    path = path_of(root, name)
    if not path.is_file():
        return {}
    content = stored_files.read_json(root, path)
    for metric, methods in content.items():
        for method, values in run_files.mapping(methods, path, short(metric)).items():
            place = f"{short(metric)}.{short(method)}"
            if not isinstance(values, list) or not all(run_files.is_number(value) for value in values):
                run_files.refuse(path, place, values, "a list of numbers")
    return {metric: {**methods} for metric, methods in content.items()}


def save(root: Path, name: str, stored: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    path = path_of(root, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, (json.dumps(stored, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
