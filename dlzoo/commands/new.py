"""Write the first files of a net, data set, task or experiment of your own, or of a package for them.

    dlzoo new project mylab            a package with a net, an experiment, a test and CI; then: pip install -e mylab
    dlzoo new net my_net               nets/my_net.py and configs/model/my_net.yaml in the package
    dlzoo new data my_data             data/my_data.py and configs/data/my_data.yaml
    dlzoo new task my_task             tasks/my_task.py and configs/model/my_task.yaml
    dlzoo new experiment my_experiment model=my_net data=digits        configs/experiment/my_experiment.yaml

Options:
    model, data          of an experiment: the names that it chooses; mlp and digits if they are not given

All but the first are called in the folder of a project: a package whose pyproject.toml has an entry point in the
group dlzoo.plugins. What they write runs at once and is meant to be changed; no existing file is overwritten.
Exit code 0 on success, 2 on an error.
"""

from __future__ import annotations

import os
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal, get_args

from dlzoo import __version__
from dlzoo.commands import cli, own_project
from dlzoo.config import groups, run_files
from dlzoo.errors import UserError, ignored_option, nearest

PYTHON_FOLDERS = {"net": "nets", "data": "data", "task": "tasks"}
"""The folder in the package for each kind that has a Python file."""

GROUPS = {"net": "model", "data": "data", "task": "model", "experiment": "experiment"}
"""The group of the config of each kind."""

SUMMARIES = {
    "nets": "Nets of the package, each in a file.",
    "data": "Data sets of the package, each in a file.",
    "tasks": "Tasks of the package, each in a file.",
}
"""The docstrings of the folders of Python files."""

CLAIM = """
# What the run checks at its end. The source says who claims it.
expect:
  - {metric: test/accuracy, min: 0.9, source: own goal}
"""

DEFAULT_MODEL, DEFAULT_DATA = "mlp", "digits"


Kind = Literal["project", "net", "data", "task", "experiment"]
KINDS = get_args(Kind)


@dataclass(frozen=True, kw_only=True)
class Options:
    kind: Kind
    name: str
    model: str | None = None
    """Of an experiment."""
    data: str | None = None
    """Of an experiment."""


def main() -> None:
    """The command."""
    cli.execute(create, __doc__, positional=("kind", "name"))


def create(argv: Sequence[str]) -> None:
    """Write the files, and print their names and what to call next."""
    if sum(arg.startswith(("kind=", "name=")) for arg in argv) < 2:
        raise UserError(f"say what to write, and its name: dlzoo new net my_net; {nearest('', KINDS)}")
    options, _ = cli.parse(Options, argv)
    own_project.check_name(options.kind, options.name)
    for key in ("model", "data"):
        if options.kind != "experiment" and (value := getattr(options, key)) is not None:
            raise ignored_option(key, value, "dlzoo new experiment")
    if options.kind == "project":
        _create_project(options.name)
    else:
        _create_part(options)


def _create_project(name: str) -> None:
    root = Path.cwd() / name
    if os.path.lexists(root):
        raise UserError(f"{root} exists already: choose another name, or remove it")
    own_project.check_package(name)
    net = f"{name}_net"
    own_project.check_unused("model", net)
    values = {"package": name, "net": net, "version": __version__}
    package = root / "src" / name
    files = {
        root / "pyproject.toml": filled("project/pyproject.toml", values),
        root / "README.md": filled("project/README.md", values),
        root / ".gitignore": filled("project/gitignore", values),
        root / ".github" / "workflows" / "ci.yml": filled("project/ci.yml", values),
        root / "tests" / "test_training.py": filled("project/test_training.py", values),
        package / "__init__.py": filled("package.py", {"summary": "Nets, tasks and data for dlzoo."}),
        **part_files("net", net, package, name),
        **experiment_file(f"{net}_digits", package, model=net, data=DEFAULT_DATA),
    }
    _write(files, root)
    print(f"next: pip install -e {name} && dlzoo train model={net} data=digits")


def _create_part(options: Options) -> None:
    group = GROUPS[options.kind]
    own_project.check_unused(group, options.name)
    project = own_project.find(Path.cwd())
    if options.kind == "experiment":
        chosen = {"model": options.model or DEFAULT_MODEL, "data": options.data or DEFAULT_DATA}
        for key, name in chosen.items():
            if name not in (known := groups.names()[key]):
                raise UserError(f"{key}={name}: there is no such {key}; {nearest(name, known)}")
        files = experiment_file(options.name, project.folder, **chosen)
    else:
        files = part_files(options.kind, options.name, project.folder, project.module)
    _write(files, project.root)
    install = "" if project.is_installed else f"pip install -e {_shown(project.root)} && "
    data = " data=digits" if group == "model" else ""
    print(f"next: {install}dlzoo train {group}={options.name}{data}")


def part_files(kind: str, name: str, folder: Path, module: str) -> dict[Path, str]:
    """The files of a net, a data set or a task, with their contents.

    Args:
        folder: of the package.
        module: its dotted name.
    """
    values = {"package": module, "name": name, "class_name": class_name(name)}
    python = folder / PYTHON_FOLDERS[kind]
    files = {
        python / f"{name}.py": filled(f"{kind}.py", values),
        folder / "configs" / GROUPS[kind] / f"{name}.yaml": filled(f"{kind}.yaml", values),
    }
    if not (python / "__init__.py").exists():
        files[python / "__init__.py"] = filled("package.py", {"summary": SUMMARIES[python.name]})
    return files


def experiment_file(name: str, folder: Path, *, model: str, data: str) -> dict[Path, str]:
    """The file of an experiment, with its content."""
    values = {"name": name, "model": model, "data": data, "claim": CLAIM.strip() if data == DEFAULT_DATA else ""}
    return {folder / "configs" / "experiment" / f"{name}.yaml": filled("experiment.yaml", values)}


def class_name(name: str) -> str:
    """The name of the class in a module.

    >>> class_name("my_net"), class_name("vgg16_bn")
    ('MyNet', 'Vgg16Bn')
    """
    return "".join(part.capitalize() for part in name.split("_"))


class _Template(string.Template):
    """``%{name}`` is replaced; ``$`` and ``{`` are frequent in what is written."""

    delimiter = "%"


def filled(template: str, values: Mapping[str, str]) -> str:
    """The text of a template, with its names replaced."""
    file = resources.files("dlzoo.commands").joinpath("templates", f"{template}.tmpl")
    return _Template(file.read_text(encoding="utf-8")).substitute(values).rstrip("\n") + "\n"


def _write(files: Mapping[Path, str], root: Path) -> None:
    """Write new files of a project, and print their names.

    Raises:
        UserError: one exists, or would be written through a link out of the project; then none is written.
    """
    if outside := next((path for path in files if not run_files.is_inside(root, path.parent)), None):
        raise UserError(f"{_shown(outside.parent)} links outside the project in {root}: replace the link with a folder")
    if existing := next((path for path in files if os.path.lexists(path)), None):
        raise UserError(f"{_shown(existing)} exists already: choose another name, or remove it")
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
        except OSError as error:  # such as a file in place of a folder
            place = _shown(Path(error.filename or path))
            raise UserError(f"{_shown(path)} cannot be written: {place}: {error.strerror}") from None
        print(f"wrote {_shown(path)}")


def _shown(path: Path) -> str:
    """A path as seen from the current folder."""
    return os.path.relpath(path)
