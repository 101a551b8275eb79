"""What a config may build, and where it may write or connect to: decided by name, before anything is imported.

A ``_target_`` is imported and called with what stands beside it, so one that names ``os.system`` is a command, and one
that names a module runs that module. A config is passed on from hand to hand, as a file or inside a checkpoint. So a
target must be one of our own parts, one of `LISTED`, or of a package that the user has named: ``trust=mypkg`` on the
command line, or an entry point ``dlzoo.plugins`` of what is installed. What the user types on the command line is
theirs, and is held only to being a part of a run. See docs/threat-model.md.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import PurePath
from typing import Any

from dlzoo.distributed import launch as ranks
from dlzoo.errors import UserError, nearest, short

PARTS = {
    "net": "dlzoo.nets.base.Net",
    "task": "dlzoo.tasks.base.Task",
    "data": "dlzoo.data.base.DataModule",
    "optimizer": "torch.optim.Optimizer",
    "trainer": "lightning.pytorch.Trainer",
    "callbacks": "lightning.pytorch.Callback",
    "logger": "lightning.pytorch.loggers.Logger",
}
"""What the ``_target_`` of each node must be a subclass of; a scheduler is a function that takes a plan."""

OURS = ("dlzoo.nets.", "dlzoo.tasks.", "dlzoo.data.", "dlzoo.callbacks.", "dlzoo.optim.lr_schedules.")
"""Modules whose own classes and functions are parts of a run."""

_LIGHTNING = {
    "": "Trainer",
    "callbacks.": """BackboneFinetuning BatchSizeFinder DeviceStatsMonitor EarlyStopping EMAWeightAveraging
        GradientAccumulationScheduler LearningRateFinder LearningRateMonitor ModelCheckpoint ModelPruning ModelSummary
        RichModelSummary RichProgressBar StochasticWeightAveraging ThroughputMonitor Timer TQDMProgressBar
        WeightAveraging""",
    "loggers.": "CSVLogger TensorBoardLogger",
    "profilers.": "AdvancedProfiler PassThroughProfiler SimpleProfiler",
    "strategies.": "DDPStrategy FSDPStrategy SingleDeviceStrategy",
}
_OPTIMIZERS = """Adadelta Adafactor Adagrad Adam Adamax AdamW ASGD LBFGS Muon NAdam RAdam RMSprop Rprop SGD
    SparseAdam"""
LISTED = frozenset(
    [f"torch.optim.{name}" for name in _OPTIMIZERS.split()]
    + [f"lightning.pytorch.{module}{name}" for module, names in _LIGHTNING.items() for name in names.split()]
)
"""The parts of PyTorch and Lightning that any config may name. None of them runs a program, calls what it is given by
name or talks to a network: loggers that do, such as Wandb's, and callbacks of one's own functions are for the command
line alone, as are those that write where their options say (OnExceptionCheckpoint, SpikeDetection)."""

FAMILIES = ("dlzoo.", "torch.", "lightning.", "torchmetrics.", "kornia.")
"""Where a class that is typed inside of a part comes from, or one of its base classes."""

NOT_TRUSTED = sys.stdlib_module_names | {
    "dlzoo", "torch", "torchvision", "lightning", "pytorch_lightning", "torchmetrics", "kornia", "timm", "numpy",
    "scipy", "pandas", "sklearn", "matplotlib", "PIL", "hydra", "omegaconf", "yaml", "requests", "urllib3", "optuna",
}  # fmt: skip
"""Packages of everybody: to trust one would be to trust whoever names some function in it."""

GROUP = "dlzoo.plugins"
NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")

WRITTEN = (
    "data_dir", "output_dir", "mirrors", "dirpath", "save_dir", "root_dir", "default_root_dir", "log_dir", "cache_dir",
    "sub_dir", "path_to_export_trace", "storage",
)  # fmt: skip
"""Last parts of keys that say where something is written or what is connected to."""

WRITERS = ("callbacks", "logger", "trainer")
"""Nodes whose other texts may become parts of file names."""

TEMPLATE = re.compile(r"([^{}]|\{[\w/ -]+(:0?\d{0,2}(\.\d{1,2})?[defg]?)?\})*")
"""What Lightning may make a file's name of. Others could read the attributes of objects, down to the environment, and
write any sign by its number (``{epoch:c}``); TensorBoard's logger puts in variables of the environment (``$HOME``)."""

HYDRA_PARTS = ("hydra.plugins.plugin.Plugin", "hydra.experimental.callback.Callback")
LOGGING = (
    "logging.StreamHandler", "logging.FileHandler", "logging.NullHandler", "logging.Formatter",
    "logging.handlers.RotatingFileHandler", "colorlog.ColoredFormatter",
)  # fmt: skip
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")


@dataclass(frozen=True)
class Trust:
    """What the user of this command has vouched for."""

    packages: tuple[str, ...] = ()
    """Named by ``trust=``."""
    typed: Mapping[str, Any] = field(default_factory=dict)
    """The values on the command line, by their dotted places."""

    @classmethod
    def of(cls, words: Sequence[str], packages: Sequence[str] = ()) -> Trust:
        """The trust that a command line gives.

        Raises:
            UserError: ``trust=`` names no package of the user's own.
        """
        typed = typed_values(words)
        return cls((*packages, *packages_of(typed.get("trust"))), typed)

    def check_target(self, target: Any, place: str) -> None:
        """`UserError` if ``_target_`` at this place must not even be imported.

        Args:
            place: of the key itself, such as ``net._target_``.
        """
        if not isinstance(target, str):
            raise UserError(f"{place}={short(target)}: this must be the name of a class, package.module.Name")
        if not NAME.fullmatch(target):
            raise UserError(f"{place}={short(target)} is not of the form package.module.Name")
        if target in LISTED or target.startswith(OURS) or self.names(target):
            return
        if self.typed.get(place) == target:
            return
        root = target.partition(".")[0]
        if root in NOT_TRUSTED:
            close = nearest(target, LISTED)
            advice = close if close.startswith("did you mean") else "where you know it, type it on the command line"
        else:
            advice = f"if {root} is a package of yours or of someone you trust, add trust={root}"
        raise UserError(f"{place}={short(target)} is not built: a config or a checkpoint may not name it; {advice}")

    def names(self, target: str) -> bool:
        """Whether a target is of a package that the user has named, or of an installed plug-in."""
        return target.startswith(tuple(f"{package}." for package in self.packages)) or (
            target.partition(".")[0] not in NOT_TRUSTED and target.startswith(tuple(f"{p}." for p in plugins()))
        )

    def find(self, target: Any, place: str) -> Any:
        """The class or function, imported only when `check_target` allows it, and defined where its name says.

        Raises:
            UserError: a target that is not allowed, or that is not there.
        """
        from dlzoo.config.introspection import locate

        self.check_target(target, place)
        found = locate(target, place)
        home = f"{getattr(found, '__module__', None)}."
        if target in LISTED or self.typed.get(place) == target:
            return found
        allowed = OURS if target.startswith(OURS) else (f"{target.partition('.')[0]}.",)
        if not home.startswith(allowed):
            raise UserError(f"{place}={short(target)} is not built: it is only imported there, from {home[:-1]}")
        return found


def packages_of(value: Any) -> tuple[str, ...]:
    """The packages that ``trust=`` names: one, or a list.

    >>> packages_of("mypkg"), packages_of(["a", "b.c"]), packages_of(None)
    (('mypkg',), ('a', 'b.c'), ())

    Raises:
        UserError: no package name, or one that is not the user's own.
    """
    names = [] if value is None else value if isinstance(value, list | tuple) else [value]
    for name in names:
        if not isinstance(name, str) or not NAME.fullmatch(f"{name}.x"):
            raise UserError(f"trust={short(name)}: this must be the name of a package, or a list of them: trust=[a,b]")
        if name.partition(".")[0] in NOT_TRUSTED:
            raise UserError(f"trust={name}: this names packages of your own; {name} holds more than parts of a run")
    return tuple(names)


def packages_in(text: str | None) -> tuple[str, ...]:
    """As `packages_of`, from the text of a command's option: ``a``, ``a,b`` or ``[a,b]``."""
    return packages_of(None if text in (None, "null") else str(text).strip("[]").split(","))


def packages_behind(*names: str) -> tuple[str, ...]:
    """The packages of parts that this process has built already, by the names of their classes or modules.

    >>> packages_behind("mypkg.nets.Net", "dlzoo.tasks.supervised.Supervised")
    ('mypkg',)
    """
    roots = dict.fromkeys(name.partition(".")[0] for name in names)
    return tuple(root for root in roots if root not in NOT_TRUSTED)


def plugins() -> tuple[str, ...]:
    """The packages of the installed distributions that declare an entry point of the group ``dlzoo.plugins``."""
    return tuple(point.module.partition(".")[0] for point in metadata.entry_points(group=GROUP))


def typed_values(words: Sequence[str]) -> dict[str, Any]:
    """The values of overrides by their dotted places, those inside of dicts and lists too; choices of groups as well.

    >>> typed_values(["net.hidden=[8]", "++callbacks.mine={_target_: a.B}"])["callbacks.mine._target_"]
    'a.B'
    """
    from hydra.errors import HydraException

    from dlzoo.config.overrides import parsed

    found: dict[str, Any] = {}
    for word in words:
        try:
            override = parsed(word)
        except HydraException:
            continue  # who composes it says what is wrong
        if not override.is_sweep_override() and not override.is_delete():
            found |= dict(walk(override.value(), override.key_or_group))
    return found


def walk(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Everything in a nest of dicts and lists with its dotted place, the value itself first."""
    yield place, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from walk(item, f"{place}.{key}" if place else f"{key}")
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from walk(item, f"{place}[{i}]")


def check_part(found: Any, target: str, node: str, where: str) -> None:
    """`UserError` if what a ``_target_`` names is no such part of a run; ``where`` it stands below ``node``."""
    if where.count(".") > (node in ("callbacks", "logger")) or "[" in where:
        bases = [f"{base.__module__}." for base in inspect.getmro(found)] if isinstance(found, type) else []
        if not any(base.startswith(FAMILIES) for base in bases):
            raise UserError(f"{where}._target_={target} is not built: it is no class of {', '.join(FAMILIES)[:-1]}")
        return
    if node == "scheduler":
        if not (inspect.isfunction(found) and "plan" in inspect.signature(found).parameters):
            raise UserError(f"{where}._target_={target} is not called: a scheduler is a function of optimizer and plan")
        return
    kind = _class(PARTS[node])
    if not (inspect.isclass(found) and issubclass(found, kind)):
        raise UserError(f"{where}._target_={target} is not built: it is no subclass of {PARTS[node]}")
    if node == "net" and not found.accepts:  # type: ignore[attr-defined]  # a Net
        raise UserError(
            f"{where}._target_={target} does not say with what data it fits: give the class accepts = (…), "
            "kinds of dlzoo.specs.inputs"
        )


def check_places(cfg: Mapping[str, Any], trust: Trust) -> None:
    """`UserError` if a resolved config writes elsewhere than into the run, or connects, and the user did not say so.

    What a run reads (``data.path``, ``net.weights``) a config may name.
    """
    data_dir = cfg.get("data_dir")
    for node in ("net", "task", "data", "optimizer", "scheduler", *WRITERS):
        for place, value in walk(cfg.get(node), node):
            if place == "data.data_dir" and value == data_dir:
                continue
            if not _is_given(place, trust) and (reason := forbidden(place, value)):
                raise UserError(f"{place}={short(value)} is not followed: {reason}; give it on the command line")


def forbidden(place: str, value: Any) -> str:
    """Why a value may come only from the command line; empty if it may come from anywhere."""
    key = re.split(r"[.\[]", re.sub(r"(\[\d+\])+$", "", place))[-1]
    if key in WRITTEN:
        return "" if value is None else "where a run writes, and what it connects to, is for its user to say"
    if place == "trainer.num_nodes" and value not in (None, 1) and ranks.num_started() == 1:
        return "the run would wait for other machines, which torchrun and srun start"
    if isinstance(value, bytes | PurePath):  # YAML has tags for both
        value = os.fsdecode(value)
    if not isinstance(value, str):
        return ""
    if "://" in value:
        return "a run connects to nothing that a file or a checkpoint names"
    if place.split(".")[0] in WRITERS and ("$" in value or not TEMPLATE.fullmatch(value)):
        return "in a name that is written, braces hold a metric and a format such as {epoch:03d}, and no $ stands"
    leads_out = value.startswith(("/", "~", "\\")) or ".." in re.split(r"[/\\]", value) or value[1:3] == ":\\"
    if leads_out and place.split(".")[0] in WRITERS:
        return "it leads out of the run's folder"
    return ""


def check_stored(words: Sequence[str], source: str, trust: Trust, known: Sequence[str] = ()) -> list[str]:
    """The words that a checkpoint brings along and that are followed: options of a run, and nothing else.

    Places to write to, and addresses, are left out: what the user gives now holds, or the default.

    Args:
        source: what brings them, for messages.
        known: the keys at the top of a config, and the groups.

    Raises:
        UserError: a word that does more than choose options.
    """
    followed = []
    for word in words:
        key, value = _stored(word, source)
        top = key.split(".")[0]
        if key in ("ckpt", "resume"):
            continue
        if top not in known or top in ("trust", "sweep", "grid", "names"):
            raise UserError(f"{source} brings the word {short(word)}, which is no option of a run")
        if key.split(".")[-1] in WRITTEN:
            continue
        for place, item in walk(value, key):
            last = place.rpartition(".")[2]
            if last == "_target_":
                _check_stored_target(item, place, word, source, trust)
            elif re.fullmatch(r"_\w+_(\[\d+\])*", last):
                raise UserError(f"{source} brings the word {short(word)}: {last} is no option of a part")
            if top != "expect" and (reason := forbidden(place, item)):
                raise UserError(f"{source} brings the word {short(word)}: {reason}; give {place} yourself")
        followed.append(word)
    return followed


def check_plain(node: Any, place: str, said: str) -> None:
    """`UserError` if a config that was stored resolved has a reference in it, in a key or in a value."""
    for where, value in walk(node, place):
        text = value if isinstance(value, str) else where
        if "${" in text:
            raise UserError(f"{said} has the reference {where}={short(value)}; dlzoo writes none into a checkpoint")


def check_hydra(node: Any, where: str = "hydra") -> None:
    """`UserError` if Hydra's own settings would build more than its plug-ins, or log with more than loggers.

    Args:
        node: not resolved: what is built there must be named there.
    """
    for key, value in _items(node):
        place = f"{where}.{key}"
        said = f"{place}={short(value)} is not built"
        is_logging = "_logging" in where
        if key == "_target_":
            is_hydras = str(value).startswith(("hydra.", "hydra_plugins.", "dlzoo.config.run_dir."))
            found = _class(str(value)) if is_hydras else None
            if not (isinstance(found, type) and issubclass(found, tuple(_class(part) for part in HYDRA_PARTS))):
                raise UserError(f"{said}: it is no plug-in and no callback of Hydra")
        elif is_logging and key in ("()", "class") and value not in LOGGING:
            raise UserError(f"{said}: only classes of logging are: {', '.join(LOGGING)}")
        elif is_logging and isinstance(value, str) and "://" in value and value not in STREAMS:
            raise UserError(f"{said}: a logger's stream is one of {', '.join(STREAMS)}")
        elif isinstance(value, str) and value.startswith("${") and (is_logging or where == "hydra.callbacks"):
            raise UserError(f"{said}: it must stand there itself, not as a reference")
        check_hydra(value, place)


def _stored(word: str, source: str) -> tuple[str, Any]:
    """The key and the value of a word that a checkpoint brings."""
    from hydra.errors import HydraException

    from dlzoo.config.overrides import parsed, readable

    said = f"{source} brings the word {short(word)}"
    if word.startswith("-"):
        raise UserError(f"{said}, which is no option of a run")
    if "${" in word:
        raise UserError(f"{said}: a reference is not followed there; give it yourself")
    try:
        override = parsed(readable(word))
    except HydraException:
        raise UserError(f"{said}, which is no override") from None
    key, value = override.key_or_group, None if override.is_delete() else override.value()
    if override.is_sweep_override() or override.package is not None or not re.fullmatch(r"[\w-]+(\.[\w-]+)*", key):
        raise UserError(f"{said}, which is no option of a run")
    for place, item in walk(value, key):
        if not isinstance(item, str | int | float | dict | list | None) or "${" in f"{place}{item}":
            raise UserError(f"{said}: a reference is not followed there; give it yourself")
    return key, value


def _check_stored_target(target: Any, place: str, word: str, source: str, trust: Trust) -> None:
    try:
        trust.check_target(target, place)
    except UserError as error:
        raise UserError(f"{source} brings the word {short(word)}: {error}") from None


def _is_given(place: str, trust: Trust) -> bool:
    return re.sub(r"(\[\d+\])+$", "", place) in trust.typed or place in trust.typed


def _items(node: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(node, dict):
        yield from node.items()
    elif isinstance(node, list):
        yield from enumerate(node)


def _class(path: str) -> Any:
    """What a dotted name of ours stands for; None where there is nothing."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name, None)
    except (ImportError, ValueError):
        return None
