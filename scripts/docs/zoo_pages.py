"""The pages of the zoo, from the texts of docs/zoo, the code, the configs, the stored results and the pictures."""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from dlzoo.config import options, part_help, run_files, source
from dlzoo.config.instantiate import build_net
from dlzoo.config.introspection import locate
from dlzoo.config.run_config import Node
from dlzoo.config.yaml_files import CONFIG_DIR, read_yaml
from scripts.docs import figures
from scripts.docs.drawing import drawing
from scripts.docs.layer_table import observe
from scripts.docs.mathml import with_mathml
from scripts.docs.specs import named_specs
from scripts.docs.systems import PICTURES, ROOT, Family, System, pages


def page(system: System) -> str:
    """The page of a system."""
    parts = [
        f"# {system.title}",
        figures.header("model", system.models[0]),
        *_main_picture(system),
        "## Idea",
        with_mathml(system.idea),
        with_mathml(system.equations),
        "## Run it",
        _bash(system.run),
        *_other_models(system),
        "## The net",
        *_net(system),
        "## The code that computes it",
        *(_excerpt(name) for name in system.code),
        *_pictures(system),
        *_results(system),
        *_errata(system),
        *_exercises(system),
        "## Papers",
        *_papers(system),
        "## Options",
        *_options(system),
    ]
    return "\n\n".join(parts) + "\n"


def gallery(families: Sequence[Family]) -> str:
    """The page that shows all systems."""
    parts = [
        "# Zoo",
        "Every system is one command, trains on real data, and says on its page what it reached beside the strongest "
        "cheap method on the same split.",
    ]
    for family in families:
        parts += [f"## {family.title}", family.about, '<div class="zoo" markdown>']
        parts += ["\n".join(_card(system) for system in family.systems), "</div>"]
    return "\n\n".join(parts) + "\n"


def _card(system: System) -> str:
    picture = _first_picture(system)
    path = f"../assets/zoo/{system.name}/{picture.name}" if picture else f"../assets/nets/{system.name}.svg"
    return f"- [![]({path}){{ loading=lazy }}<span>{system.title}</span>]({system.name}.md)"


def _first_picture(system: System) -> Path | None:
    return next((path for path, _ in stored_pictures(system)), None)


def stored_pictures(system: System) -> list[tuple[Path, str]]:
    """The pictures at hand, with their captions."""
    if system.pictures is None:
        return []
    named = [(PICTURES / system.name / f"{Path(name).stem}.webp", text) for name, text in system.pictures.files.items()]
    return [(path, text) for path, text in named if path.is_file()]


def _image(system: System, path: Path, text: str, attributes: str = "") -> str:
    return f"![{text}](../assets/zoo/{system.name}/{path.name}){{ loading=lazy {attributes}}}"


def _main_picture(system: System) -> list[str]:
    return [_image(system, path, text, ".main-picture") for path, text in stored_pictures(system)[:1]]


def _bash(*commands: str) -> str:
    lines = "\n".join(commands)
    return f"```bash\n{lines}\n```"


def _other_models(system: System) -> list[str]:
    rows = [f"- `model={name}`: {figures.header('model', name)}" for name in system.models[1:]]
    experiments = [f"- `experiment={name}`: {_first_sentence(name)}" for name in system.experiments]
    found = ["**Also on this page**\n\n" + "\n".join(rows)] if rows else []
    return found + (["**Experiments**, which claim a result\n\n" + "\n".join(experiments)] if experiments else [])


def _first_sentence(experiment: str) -> str:
    text = figures.header("experiment", experiment)
    return re.split(r"(?<=[a-z0-9)\]%.])\. (?=[A-Z])", text)[0].rstrip(".") + "."


@cache
def node_of(model: str, part: str) -> Node:
    """The net's or the task's settings in a model's file; composing the whole config takes a second."""
    path = CONFIG_DIR / "model" / f"{model}.yaml"
    node = run_files.mapping(run_files.mapping(read_yaml(path), path).get(part), path, part)
    return {**node, "name": "resnet50"} if model == "timm" and part == "net" else node


@cache
def _drawn(name: str) -> tuple[str, int, str]:
    """The class of the net of a system's first model, its number of parameters, and its drawing."""
    system = next(system for system in pages() if system.name == name)
    torch.manual_seed(0)
    model, spec = system.models[0], named_specs()[system.spec]
    net = build_net(node_of(model, "net"), node_of(model, "task"), spec)
    start, layers = observe(net, spec)
    num = sum(parameter.numel() for parameter in net.parameters())
    return type(net).__name__, num, drawing(start, layers, system.title)


def svg(system: System) -> str:
    """The drawing of the system's net."""
    return _drawn(system.name)[2]


def _net(system: System) -> list[str]:
    kind, num, drawn = _drawn(system.name)
    inputs = named_specs()[system.spec].describe()
    return [f"`{kind}` for {inputs}: {num:,} parameters. Shapes are those of one row, without the batch.", drawn]


def _excerpt(name: str) -> str:
    """The source of a class or function, without its docstring; and where it stands."""
    module, _, attribute = name.rpartition(".")
    owner = locate(module, "code") if "." in module and module.rpartition(".")[2][:1].isupper() else None
    found: Any = getattr(owner, attribute) if owner is not None else locate(name, "code")
    code = textwrap.dedent(inspect.getsource(found))
    path = Path(inspect.getsourcefile(inspect.unwrap(found)) or "").resolve().relative_to(ROOT)
    return f'```python title="{path}: {_short_name(name)}"\n{code.rstrip()}\n```'


def _short_name(name: str) -> str:
    return ".".join(part for part in name.split(".")[-2:] if part[:1].isupper() or part == name.split(".")[-1])


def _pictures(system: System) -> list[str]:
    shown = stored_pictures(system)
    record = PICTURES / system.name / "run.json"
    if not shown or system.pictures is None or not record.is_file():
        return []
    run = json.loads(record.read_text(encoding="utf-8"))
    parts = [
        "## What a run leaves",
        f"This run took {run['seconds']:.0f} s on {run['device']}:",
        _bash(system.pictures.command, *(line.replace("{run}", "outputs/…") for line in system.pictures.then)),
    ]
    for path, text in shown:
        parts += [_image(system, path, text), f"*{text}*"]
    return parts


def _results(system: System) -> list[str]:
    if not system.experiments:
        return []
    table = figures.table(system.experiments)
    parts = ["## What it reached"]
    if table:
        parts += [
            "Each value is measured on test data that are read once, over several seeds; a goal is met only if the 95% "
            "interval lies within it. A rival in **bold** beats the model. More in RESULTS.md.",
            "\n".join(table),
        ]
    if missing := figures.not_run(system.experiments):
        parts.append("Not yet measured here: " + ", ".join(f"`{name}`" for name in missing) + ".")
    for name in system.experiments:
        parts.append(f'??? note "The experiment `{name}`"\n\n    {figures.header("experiment", name)}')
    return parts


def _errata(system: System) -> list[str]:
    if not system.errata:
        return []
    return ["## What the source had wrong", "\n".join(f"- {text.strip()}" for text in system.errata)]


def _exercises(system: System) -> list[str]:
    parts = ["## Exercises"]
    for i, exercise in enumerate(system.exercises, 1):
        parts += [f"**{i}.** {exercise.text.strip()}", _bash(exercise.command)]
    return parts if system.exercises else []


def _papers(system: System) -> Iterator[str]:
    """What the files of the nets and the tasks say about their sources."""
    seen = []
    for model in system.models:
        for target in (str(node_of(model, part)["_target_"]) for part in ("net", "task")):
            located = source.find(target)
            if located is None or located.module.path in seen:
                continue
            seen.append(located.module.path)
            docstring = ast.get_docstring(ast.parse(located.module.path.read_bytes())) or ""
            path = located.module.path.resolve().relative_to(ROOT)
            yield f"`{path}`\n\n" + textwrap.indent(as_markdown(docstring.split("\n>>>")[0].strip()), "> ")


def as_markdown(docstring: str) -> str:
    """A docstring's text, safe within Markdown: its asterisks and angle brackets are meant as they stand."""
    text = docstring.replace("``", "`")
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(piece if piece.startswith("`") else re.sub(r"([*_<|\[\]])", r"\\\1", piece) for piece in pieces)


def _options(system: System) -> Iterator[str]:
    for part in ("net", "task"):
        node = node_of(system.models[0], part)
        set_here = {name: part_help.shown(value) for name, value in node.items()}
        known = options.read(str(node["_target_"]))
        rows = [
            f"| `{part}.{option.name}` | `{set_here.get(option.name, part_help.shown(option.default))}` | "
            f"{as_markdown(option.about)} |"
            for option in (options.in_node(known, part) if known is not None else ())
        ]
        if rows:
            yield "\n".join([f"| option of `{node['_target_']}` | default | |", "| --- | --- | --- |", *rows])
