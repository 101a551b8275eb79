"""What there is to choose from: models, data sets and experiments."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def models() -> pd.DataFrame:
    """The models by name: what they take and learn, their net and task, and a sentence about the net."""
    import pandas as pd
    from omegaconf import OmegaConf

    from dlzoo.config.instantiate import net_class, task_class

    rows = {}
    for file in _files("model"):
        cfg = OmegaConf.load(file)
        net, task = net_class(cfg.net), task_class(cfg.task)
        rows[file.stem] = {
            "takes": ", ".join(kind.what for kind in net.accepts),
            "learns": ", ".join(kind.what for kind in task.targets),
            "net": net.__name__,
            "task": task.__name__,
            "about": _about(file) or _first_sentence(net),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def datasets() -> pd.DataFrame:
    """The data sets and readers by name: what they give, a sentence, and the models that take it."""
    import pandas as pd
    from omegaconf import OmegaConf

    from dlzoo.config.instantiate import net_class
    from dlzoo.config.introspection import locate
    from dlzoo.data.base import DataModule

    nets = {file.stem: net_class(OmegaConf.load(file).net) for file in _files("model")}
    rows = {}
    for file in _files("data"):
        data = locate(OmegaConf.load(file)._target_, "data._target_")
        assert isinstance(data, type)
        assert issubclass(data, DataModule)
        kind = data.kind
        fitting = [name for name, net in nets.items() if issubclass(kind, net.accepts)]
        rows[file.stem] = {"gives": kind.what, "about": _about(file), "models": ", ".join(fitting)}
    return pd.DataFrame.from_dict(rows, orient="index")


def experiments() -> pd.DataFrame:
    """The experiments by name: model, data, what they claim and by whom, and a sentence."""
    import pandas as pd
    from omegaconf import DictConfig, OmegaConf

    rows = {}
    for file in _files("experiment"):
        cfg = OmegaConf.load(file)
        assert isinstance(cfg, DictConfig)
        entries = [entry for entry in cfg.get("defaults", []) if isinstance(entry, DictConfig)]  # others are _self_
        choices = {str(key).rpartition("/")[2]: name for entry in entries for key, name in entry.items()}
        claims = [
            f"{claim.metric} {'≥' if 'min' in claim else '≤'} {claim.get('min', claim.get('max'))} ({claim.source})"
            for claim in cfg.get("expect", [])
        ]
        rows[file.stem] = {
            "model": choices.get("model"),
            "data": choices.get("data"),
            "claims": "; ".join(claims),
            "about": _about(file),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _files(group: str) -> list[Path]:
    """Those of dlzoo and of the installed plugins."""
    from dlzoo.config.plugins import config_files

    return [*config_files(group).values()]


def _first_sentence(cls: type) -> str:
    return " ".join((cls.__doc__ or "").split("\n\n")[0].split())


def _about(file: Path) -> str:
    from dlzoo.config.group_files import File

    return File(file).comment
