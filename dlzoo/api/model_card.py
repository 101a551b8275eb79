"""The model card of a published model: README.md in Markdown, with metadata that the Hugging Face Hub reads.

Whatever comes from a run or its data is escaped: names of classes and columns may be anything.
"""

from __future__ import annotations

import html
import inspect
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from dlzoo.errors import short, visible
from dlzoo.utils.formatting import counted, format_metric

if TYPE_CHECKING:
    from dlzoo.api.model import Model
    from dlzoo.api.seeds import Seeds
    from dlzoo.training.results import RunResults, Verdict
    from dlzoo.utils.checkpoint_files import Manifest

UNKNOWN = "unknown"
"""The licence of a model for which none was given."""
MARKDOWN = re.compile(r"([\\`*_{}\[\]#|~$]|^[-+>=]|(?<=^\d)[.)])")
TASKS = (
    ("play", "reinforcement-learning"),
    ("forecast", "time-series-forecasting"),
    ("generate", "text-generation"),
    ("sample", "unconditional-image-generation"),
    ("explain", "image-classification"),
)
"""What the hub calls a model that has one of these methods."""


class Facts(NamedTuple):
    """What a card says of a model."""

    model: Model
    manifest: Manifest
    """Of the published files."""
    results: RunResults | None
    """Of the run, if they are those of this checkpoint."""
    seeds: Seeds | None
    license: str | None
    repository: str | None
    """On the hub; None: a folder."""

    @property
    def names(self) -> tuple[str, str]:
        """Of the model and of its data."""
        names = self.model.config.get("names") or {}
        return str(names.get("model") or type(self.model.net).__name__), str(names.get("data") or "data")


def text_of(facts: Facts) -> str:
    """The whole card."""
    model, data = facts.names
    sections = [
        metadata(facts),
        f"# {escape(model)} on {escape(data)}",
        about(facts),
        "## Figures\n\n" + figures(facts),
        "## How to load it\n\n" + loading(facts),
        "## Data\n\n" + data_of(facts),
        "## Training\n\n" + training(facts),
        "## Limits\n\n" + "\n".join(f"- {limit}" for limit in limits(facts)),
        "## Licence\n\n" + licence(facts),
    ]
    return "\n\n".join(sections) + "\n"


def metadata(facts: Facts) -> str:
    """The YAML at the top."""
    import yaml

    model, data = facts.names
    kind = kind_of(facts.model)
    entries: dict[str, object] = {
        "library_name": "dlzoo",
        "license": facts.license or UNKNOWN,
        "tags": ["dlzoo", "pytorch", visible(model), visible(data)],
    }
    if kind is not None:
        entries["pipeline_tag"] = kind
        measured = [
            {"type": name.removeprefix("test/"), "name": name, "value": value}
            for name, value in (facts.results or {}).get("metrics", {}).items()
            if name.startswith("test/") and value is not None
        ]
        if measured:
            dataset = {"name": visible(data), "type": visible(data), "split": "test"}
            result = {"task": {"type": kind}, "dataset": dataset, "metrics": measured}
            entries["model-index"] = [{"name": f"{visible(model)}-{visible(data)}", "results": [result]}]
    return f"---\n{yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)}---"


def kind_of(model: Model) -> str | None:
    """What the hub calls models of this kind; None if it has no name for them."""
    can = model.abilities()
    named = next((name for ability, name in TASKS if can[ability]), None)
    target = model.task.predicted_target
    if named is not None or target is None:
        return named
    if model.spec.texts is not None and target.classes is not None:
        return "text-classification"
    if model.spec.table is None:
        return None
    return "tabular-classification" if target.classes is not None else "tabular-regression"


def about(facts: Facts) -> str:
    """What the net is, with its source, and what it takes and predicts."""
    model = facts.model
    net = type(model.net)
    documented = inspect.getdoc(sys.modules[net.__module__]) or inspect.getdoc(net) or ""
    paragraphs = [escape(text) for text in documented.split("\n\n")[:2] if not text.startswith(">>>")]
    num = sum(parameter.numel() for parameter in model.net.parameters())
    takes = [f"It takes {escape(model.spec.describe())}"]
    if model.task.predicted_target is not None:
        takes.append(f"predicts {escape(short(model.task.predicted_target.describe(), 300))}")
    return "\n\n".join([*paragraphs, f"{' and '.join(takes)}; it has {num:,} parameters."])


def figures(facts: Facts) -> str:
    """The metrics of the test, of this run and over seeds, with the claims."""
    metrics = (facts.results or {}).get("metrics", {})
    shown = {name: metrics[name] for start in ("test/", "baseline/") for name in metrics if name.startswith(start)}
    if not shown:
        return "None: this checkpoint has no stored test. `dlzoo evaluate ckpt=<folder>` measures it."
    claims = {claim["metric"]: claim for claim in (facts.results or {}).get("expect", [])}
    heading = ["metric", "this model"]
    if facts.seeds is not None:
        heading.append("mean [95% interval]")
    if claims:
        heading.append("goal")
    rows = []
    for name, value in shown.items():
        row = [code(name), format_metric(name, value)]
        if facts.seeds is not None:
            row.append(over_seeds(facts.seeds, name))
        if claims:
            row.append(verdict(name, claims[name]) if name in claims else "")
        rows.append(row)
    return f"{markdown_table(heading, rows)}\n\n{source_of(facts)}"


def over_seeds(seeds: Seeds, name: str) -> str:
    """The mean of a metric with its interval; of fewer than two runs nothing."""
    from dlzoo.utils.averages import interval, mean

    values = seeds.values(name)
    if len(values) < 2:
        return ""
    low, high = interval(values)
    return f"{format_metric(name, mean(values))} [{format_metric(name, low)}, {format_metric(name, high)}]"


def verdict(name: str, claim: Verdict) -> str:
    """A goal, who set it, and whether this model reaches it."""
    sign, bound = ("≥", claim["min"]) if "min" in claim else ("≤", claim["max"])
    state = {True: "met", False: "missed", None: "not measured"}[claim.get("met")]
    return f"{sign} {format_metric(name, bound)} ({escape(claim.get('source') or 'no source')}): {state}"


def source_of(facts: Facts) -> str:
    """What the figures are."""
    results = facts.results or {}
    seed = f"seed {results.get('seed')}, {escape(results.get('device'))}, {escape(results.get('precision'))}"
    measured = f"Measured once on the test split of {escape(facts.names[1])}, which was not used before ({seed})."
    if facts.seeds is None:
        return f"{measured} One run has no interval: another seed gives other figures."
    return f"{measured} The mean and the 95% bootstrap interval of the mean are those of {escape(facts.seeds.source)}."


def loading(facts: Facts) -> str:
    """How to load and use it."""
    packages = user_packages(facts.model)
    trust = "" if not packages else f", trust={','.join(packages)!r}"
    place = "'<this folder>'"
    lines = ["import dlzoo", ""]
    if facts.repository is not None:
        lines = ["import dlzoo", "from huggingface_hub import snapshot_download", ""]
        place = f"snapshot_download({facts.repository!r})"
    lines += [
        f"model = dlzoo.load({place}{trust})",
        "print(model, [name for name, can in model.abilities().items() if can])",
    ]
    notes = ["`example.py` uses it; each command of dlzoo takes the folder as `ckpt=<folder>`."]
    if packages:
        notes.append(f"It needs the package {escape(', '.join(packages))}, whose code runs when it is loaded.")
    else:
        notes.append("The weights are safetensors and the rest is text: no code of the author runs when it is loaded.")
    code = "\n".join(lines)
    return f"```python\n{code}\n```\n\n{' '.join(notes[:1])}\n\n{' '.join(notes[1:])}"


def user_packages(model: Model) -> tuple[str, ...]:
    """The packages, other than dlzoo, that its classes come from."""
    from dlzoo.config.allowlist import user_packages

    return user_packages(type(model.task).__module__, type(model.net).__module__)


def data_of(facts: Facts) -> str:
    """What it was trained on."""
    from dlzoo.config.group_files import File
    from dlzoo.config.plugins import config_files
    from dlzoo.data import fingerprint

    name = facts.names[1]
    config = config_files("data").get(f"{name}")
    described = f"`{name}`: {escape(File(config).comment)}" if config else code(name)
    rows = fingerprint.from_plain(facts.manifest["rows"], "the checkpoint")
    counts = ""
    if rows is not None:
        counts = f" Trained on {rows.train.num_rows:,} rows, validated on {rows.val.num_rows:,}."
    return (
        f"{described}{counts} Statistics, categories and vocabulary come from the training rows alone. The data are "
        "not part of this folder and have their own licence."
    )


def training(facts: Facts) -> str:
    """The command, and what it ran on."""
    results = facts.results or {}
    command = shlex.join(["dlzoo", "train", *facts.manifest["overrides"]])
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", command)), default=0))
    parts = [f"{fence}sh\n{visible(command, keep='')}\n{fence}"]
    if results:
        seconds = results.get("seconds", {}).get("fit")
        took = "" if seconds is None else f" in {seconds:.0f} s"
        versions = ", ".join(f"{name} {version}" for name, version in results.get("versions", {}).items())
        parts.append(f"{counted(results.get('epochs', 0), 'epoch')}{took}; {escape(versions)}.")
    parts.append("The whole config of net, task and data is in `config.yaml`.")
    return "\n\n".join(parts)


def limits(facts: Facts) -> Iterator[str]:
    """What the model cannot do, as far as it follows from what it is."""
    spec, target = facts.model.spec, facts.model.task.predicted_target
    yield f"It knows {escape(facts.names[1])} alone; on inputs of another origin it may be much worse."
    if target is not None and target.classes is not None:
        yield (
            f"It answers with one of its {len(target.names)} classes for every input, also for one that is none of "
            "them; a high probability is no proof that it is right."
        )
        counts = target.classes.counts
        if counts and max(counts) >= 3 * max(1, min(counts)):
            rare = escape(target.names[counts.index(min(counts))])
            yield f"Classes are unequal: {rare} has {min(counts):,} training rows, the most frequent {max(counts):,}."
    if spec.texts is not None:
        yield f"It knows the {spec.texts.num_tokens:,} tokens of its training texts; others are unknown to it."
    if spec.images is not None and target is not None:
        yield "Images of another size are resized, which costs accuracy."
    if spec.environment is not None:
        yield "It acts in the environment that it was trained in, and in no other."
    if facts.seeds is None and facts.results:
        yield "Its figures come from a single run."
    claims = (facts.results or {}).get("expect", [])
    if missed := [claim["metric"] for claim in claims if claim.get("met") is False]:
        yield f"It misses the goal of its experiment for {escape(', '.join(missed))}."
    if facts.seeds is not None and (missed := [c["metric"] for c in claims if not is_met_over_seeds(c, facts.seeds)]):
        yield f"Over the seeds, the interval of {escape(', '.join(missed))} does not lie within the goal."


def is_met_over_seeds(claim: Verdict, seeds: Seeds) -> bool:
    """Whether the interval of the mean lies within a goal; also if it was not measured."""
    from dlzoo.utils.averages import interval

    values = seeds.values(claim["metric"])
    if len(values) < 2:
        return True
    low, high = interval(values)
    return low >= claim["min"] if "min" in claim else high <= claim["max"]


def licence(facts: Facts) -> str:
    """That of the weights."""
    if facts.license is None:
        return "The author gave none (`license=…` of `dlzoo publish` states one): ask before you use it."
    return f"`{facts.license}`, of the weights and of this folder. That of the data may restrict their use further."


def markdown_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose cells are Markdown already."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escape(text: object) -> str:
    r"""Text in a line of Markdown, without any meaning as Markdown or HTML.

    >>> print(escape("a|b <b>"), escape("[x](y)"))
    a\|b &lt;b&gt; \[x\](y)
    """
    line = " ".join(visible(text, keep="\n\t").split())
    return html.escape(MARKDOWN.sub(r"\\\1", line), quote=False)


def code(text: str) -> str:
    """A name as code in a line of Markdown, or escaped if it could end the code or its table.

    >>> print(code("test/accuracy"), code("a`<b>|"))
    `test/accuracy` a\\`&lt;b&gt;\\|
    """
    return f"`{text}`" if re.fullmatch(r"[\w/.:+@ -]+", text) else escape(text)


def example_of(model: Model) -> str:
    """A Python program that loads the model beside it and uses it."""
    body, about = _usage(model)
    trust = ",".join(user_packages(model))
    load = f"dlzoo.load(Path(__file__).parent{f', trust={trust!r}' if trust else ''})"
    imports = ["import sys"] * ("sys." in body) + ["from pathlib import Path"]
    libraries = ["import numpy as np"] * ("np." in body) + ["import dlzoo"]
    parts = [f'"""Use the model in this folder: {about}."""', "\n".join(imports), "\n".join(libraries)]
    return "\n\n".join(parts) + f"\n\nmodel = {load}\n{body}\n"


def _usage(model: Model) -> tuple[str, str]:
    """The lines that use a model, and how to call the program."""
    can, spec = model.abilities(), model.spec
    if can["play"]:
        return "print(model.play(episodes=1))", "python example.py"
    if can["forecast"]:
        return "print(model.forecast(sys.argv[1]))", "python example.py series.csv"
    if can["generate"]:
        return "print(model.generate(sys.argv[1] if sys.argv[1:] else '', length=200))", "python example.py 'A prompt'"
    if can["sample"]:
        return "print(model.sample(16, seed=0).save('samples'))", "python example.py"
    if spec.images is not None:
        shape = (spec.images.height, spec.images.width, spec.images.channels)
        default = f"np.zeros({shape if shape[2] > 1 else shape[:2]}, np.uint8)"
        method = "predict" if can["predict"] else "encode"
        return f"images = sys.argv[1:] or {default}  # a black one\nprint(model.{method}(images))", (
            "python example.py picture.png"
        )
    if spec.texts is not None:
        return "print(model.predict(sys.argv[1:] or ['a text']))", "python example.py 'A text'"
    if spec.table is not None:
        row = {column.name: column.categories[0] if column.categories else 0.0 for column in spec.table.columns}
        return (
            f"rows = sys.argv[1] if sys.argv[1:] else {row!r}\nprint(model.predict(rows))",
            "python example.py rows.csv",
        )
    return "print(model, [name for name, can in model.abilities().items() if can])", "python example.py"
