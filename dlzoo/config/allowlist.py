"""Which classes and functions a config may name: decided by name, before anything is imported.

A ``_target_`` is imported and called with the options next to it, so one that names ``os.system`` is a command, and
one that names a module runs that module. Configs are shared, as files or inside checkpoints. So a target must be a part
of dlzoo, one of `ALLOWED_TARGETS`, or from a package that the user trusts: ``trust=mypkg`` on the command line, or an
installed distribution with an entry point ``dlzoo.plugins``. A target that the user typed on the command line is only
checked to be a part of a run. See docs/threat-model.md.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dlzoo.config import plugins
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
"""The base class of each node's ``_target_``; a scheduler is a function with an argument ``plan`` instead."""

DLZOO_MODULES = ("dlzoo.nets.", "dlzoo.tasks.", "dlzoo.data.", "dlzoo.callbacks.", "dlzoo.optim.lr_schedules.")
"""The modules of dlzoo whose classes and functions any config may name."""

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
_METRICS = {
    "classification.": """MulticlassAccuracy MulticlassCohenKappa MulticlassF1Score MulticlassFBetaScore
        MulticlassJaccardIndex MulticlassMatthewsCorrCoef MulticlassPrecision MulticlassRecall MulticlassSpecificity""",
    "regression.": """ExplainedVariance KendallRankCorrCoef MeanAbsolutePercentageError MeanSquaredLogError
        PearsonCorrCoef SpearmanCorrCoef SymmetricMeanAbsolutePercentageError""",
}
METRICS = frozenset(f"torchmetrics.{module}{name}" for module, names in _METRICS.items() for name in names.split())
"""The metrics of torchmetrics that any config, and a checkpoint, may name. Others download models."""
ALLOWED_TARGETS = frozenset(
    [f"torch.optim.{name}" for name in _OPTIMIZERS.split()]
    + [f"lightning.pytorch.{module}{name}" for module, names in _LIGHTNING.items() for name in names.split()]
    + [*METRICS]
)
"""The parts of PyTorch, Lightning and torchmetrics that any config may name. None of them runs a program, calls a
function given by name, or uses the network. Loggers that do, such as Wandb's, callbacks that call arbitrary functions,
and those that write to a path from their options (OnExceptionCheckpoint, SpikeDetection) are allowed on the command
line only."""

NETWORKED = {
    "dlzoo.callbacks.trackers.Wandb": "wandb",
    "dlzoo.callbacks.trackers.MLflow": "mlflow",
    "dlzoo.callbacks.trackers.Trackio": "trackio",
}
"""Loggers that may send a run to a server, and the choices of ``logger=`` that name them: the command line must have
the choice, or the class. A file or a checkpoint of a stranger does not decide that results leave the machine."""

NESTED_MODULES = ("dlzoo.", "torch.", "lightning.", "torchmetrics.", "kornia.")
"""A class nested inside a part, typed on the command line, must come from one of these or derive from such a class."""

NEVER_TRUSTED = sys.stdlib_module_names | {
    "dlzoo", "torch", "torchvision", "lightning", "pytorch_lightning", "torchmetrics", "kornia", "timm", "numpy",
    "scipy", "pandas", "sklearn", "matplotlib", "PIL", "hydra", "omegaconf", "yaml", "requests", "urllib3", "optuna",
}  # fmt: skip
"""Packages that everyone has installed: trusting one would allow a config to call any function in it."""

NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


def is_built_in(target: str) -> bool:
    """Whether this is a part of dlzoo, PyTorch or Lightning that any config may name.

    >>> is_built_in("dlzoo.nets.mlp.MLP"), is_built_in("torch.optim.Adam"), is_built_in("os.system")
    (True, True, False)
    """
    return target in ALLOWED_TARGETS or target.startswith(DLZOO_MODULES)


def is_of_plugin(target: str) -> bool:
    """Whether this is from the package of an installed plugin."""
    root, dot, _ = target.partition(".")
    return bool(dot) and root not in NEVER_TRUSTED and root in plugins.packages()


@dataclass(frozen=True)
class Trust:
    """What the user of this command trusts."""

    packages: tuple[str, ...] = ()
    """Packages given by ``trust=``."""
    cli_values: Mapping[str, object] = field(default_factory=dict)
    """The values on the command line, by dotted key."""

    @classmethod
    def of(cls, overrides: Sequence[str], packages: Sequence[str] = ()) -> Trust:
        """The trust that the overrides of a command line express.

        Raises:
            UserError: ``trust=`` is not a package of the user's own.
        """
        from dlzoo.config.overrides import all_values

        values = all_values(overrides)
        return cls((*packages, *packages_of(values.get("trust"))), values)

    def check_target(self, target: object, key: str) -> str:
        """The target of this key, if it may be imported.

        Args:
            key: dotted, such as ``net._target_``.

        Raises:
            UserError: it may not be imported.
        """
        if not isinstance(target, str):
            raise UserError(f"{key}={short(target)} must be the name of a class, package.module.Name")
        if not NAME.fullmatch(target):
            raise UserError(f"{key}={short(target)} is not of the form package.module.Name")
        if target in NETWORKED and not self.chooses_logger(NETWORKED[target]) and self.cli_values.get(key) != target:
            raise UserError(
                f"{key}={target} may send results to a server, so a file does not choose it: give "
                f"logger={NETWORKED[target]} on the command line"
            )
        if is_built_in(target) or self.covers(target):
            return target
        if self.cli_values.get(key) == target:
            return target
        root = target.partition(".")[0]
        if root in NEVER_TRUSTED:
            close = nearest(target, ALLOWED_TARGETS)
            advice = close if close.startswith("did you mean") else "if you trust it, give it on the command line"
        else:
            advice = f"if {root} is a package of yours or of someone you trust, add trust={root}"
        raise UserError(f"{key}={short(target)} is not allowed in a config file or a checkpoint; {advice}")

    def chooses_logger(self, name: str) -> bool:
        """Whether the command line has ``logger=name``, alone or in a list."""
        chosen = self.cli_values.get("logger")
        return name in (chosen if isinstance(chosen, list) else [chosen])

    def covers(self, target: str) -> bool:
        """Whether a target is from a package that the user trusts, or from an installed plugin."""
        return target.startswith(tuple(f"{package}." for package in self.packages)) or is_of_plugin(target)

    def check_environment(self, data: object) -> None:
        """Check that the id of an environment, ``module:Name``, imports only a module that the user trusts.

        Args:
            data: the config of the data.

        Raises:
            UserError: it names another module.
        """
        id = data.get("id") if isinstance(data, dict) else None
        module, colon, _ = str(id).rpartition(":")
        if not colon:
            return
        if not NAME.fullmatch(f"{module}.x"):
            raise UserError(f"data.id={short(id)} is not of the form Name-v0 or module:Name-v0")
        if not self.covers(f"{module}."):
            root = module.partition(".")[0]
            advice = "give the id alone" if root in NEVER_TRUSTED else f"if you trust {root}, add trust={root}"
            raise UserError(f"data.id={short(id)} imports the module {module}: {advice}")

    def resolve(self, target: object, key: str) -> object:
        """The class or function, imported only if `check_target` allows it and defined in the module that it names.

        Raises:
            UserError: the target is not allowed, or does not exist.
        """
        from dlzoo.config.introspection import locate

        name = self.check_target(target, key)
        located = locate(name, key)
        home = f"{getattr(located, '__module__', None)}."
        if name in ALLOWED_TARGETS or self.cli_values.get(key) == name:
            return located
        allowed = DLZOO_MODULES if name.startswith(DLZOO_MODULES) else (f"{name.partition('.')[0]}.",)
        if not home.startswith(allowed):
            raise UserError(f"{key}={short(name)} is not allowed: its module only imports it, from {home[:-1]}")
        return located


def packages_of(value: object) -> tuple[str, ...]:
    """The packages that ``trust=`` names: one, or a list.

    >>> packages_of("mypkg"), packages_of(["a", "b.c"]), packages_of(None)
    (('mypkg',), ('a', 'b.c'), ())

    Raises:
        UserError: not the name of a package, or of one that cannot be trusted as a whole.
    """
    names = [] if value is None else value if isinstance(value, list | tuple) else [value]
    for name in names:
        if not isinstance(name, str) or not NAME.fullmatch(f"{name}.x"):
            raise UserError(f"trust={short(name)} must be the name of a package, or a list of names: trust=[a,b]")
        if name.partition(".")[0] in NEVER_TRUSTED:
            raise UserError(f"trust={name}: trust is for your own packages; {name} contains more than parts of a run")
    return tuple(names)


def packages_in(text: str | None) -> tuple[str, ...]:
    """Like `packages_of`, for the text of a command's option: ``a``, ``a,b`` or ``[a,b]``."""
    return packages_of(None if text is None or text == "null" else text.strip("[]").split(","))


def user_packages(*names: str) -> tuple[str, ...]:
    """The user's packages among those of parts that this process has built, by the names of their classes or modules.

    >>> user_packages("mypkg.nets.Net", "dlzoo.tasks.supervised.Supervised")
    ('mypkg',)
    """
    roots = dict.fromkeys(name.partition(".")[0] for name in names)
    return tuple(root for root in roots if root not in NEVER_TRUSTED)


def check_part(located: object, target: str, node: str, key: str) -> None:
    """Check that what a ``_target_`` names can be this part of a run.

    Args:
        located: the class or function.
        node: the node of the config, such as ``callbacks``.
        key: dotted key of the part, which is the node or inside it.

    Raises:
        UserError: it cannot.
    """
    if key.count(".") > (node in ("callbacks", "logger")) or "[" in key:
        bases = [f"{base.__module__}." for base in inspect.getmro(located)] if isinstance(located, type) else []
        if not any(base.startswith(NESTED_MODULES) for base in bases):
            raise UserError(
                f"{key}._target_={target} is not allowed: it is not a class of {', '.join(NESTED_MODULES)[:-1]}"
            )
        return
    if node == "scheduler":
        if not (inspect.isfunction(located) and "plan" in inspect.signature(located).parameters):
            raise UserError(f"{key}._target_={target} is not a scheduler, which is a function of optimizer and plan")
        return
    base = import_name(PARTS[node])
    if not (isinstance(located, type) and isinstance(base, type) and issubclass(located, base)):
        raise UserError(f"{key}._target_={target} is not allowed: it is not a subclass of {PARTS[node]}")
    if node == "net" and not getattr(located, "accepts", ()):
        raise UserError(
            f"{key}._target_={target} does not declare which data it accepts: give the class accepts = (…), "
            "kinds of dlzoo.specs.inputs"
        )


def import_name(name: str) -> object:
    """What a dotted name, which must not come from a config, refers to; None if it does not exist."""
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute, None)
    except (ImportError, ValueError):
        return None
