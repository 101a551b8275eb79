"""A run, as its folder describes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dlzoo.api.frames import printable
from dlzoo.config import run_files
from dlzoo.config.nested import flatten
from dlzoo.errors import UserError, visible
from dlzoo.utils import files as paths

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from dlzoo.api.model import Model
    from dlzoo.callbacks.metrics_csv import Row
    from dlzoo.training.results import RunResults

PICTURES = (".png", ".gif", ".jpg")
IGNORED_KEYS = ("output_dir", "expect", "grid", "names", "profile", "logger", "trust", "quiet")
"""Keys of a config that have no influence on training."""


class Run:
    """A finished, failed or unfinished run. In a notebook it shows its metrics and pictures.

    Args:
        path: the run folder.
        trust: your own packages whose classes its checkpoint may use.

    Raises:
        UserError: there is no such folder, or no run in it.
    """

    def __init__(self, path: str | Path, *, trust: str | None = None) -> None:
        self.path = paths.existing(str(path), "run")
        self.trust = trust
        if not (self.path / run_files.CONFIG).is_file():
            raise UserError(f"{path} is not a run folder: it has no file {run_files.CONFIG}")
        settings = {key: value for key, value in run_files.config(self.path).items() if key not in IGNORED_KEYS}
        options = {key: _short(key, value) for key, value in flatten(settings).items()}
        self.config: dict[str, object] = run_files.choices(self.path) | options
        """The choice in each group and the options by dotted key, without those that do not matter for training."""

    @cached_property
    def results(self) -> RunResults:
        """The contents of ``results.json``; empty if the run has not finished."""
        from dlzoo.training import results

        return results.read(self.path)

    @property
    def metrics(self) -> dict[str, float | None]:
        """Those of the last epoch and of the test by name, such as ``test/accuracy``; None if not finite."""
        return self.results.get("metrics", {})

    @cached_property
    def epochs(self) -> list[Row]:
        """The rows of ``metrics.csv``, one for each epoch."""
        from dlzoo.callbacks import metrics_csv

        curves = run_files.find(self.path, "metrics.csv")
        return [] if curves is None else metrics_csv.read_rows(curves)

    @property
    def history(self) -> pd.DataFrame:
        """The metrics of each epoch: a row for each, with the epoch as index."""
        import pandas as pd

        frame = printable(pd.DataFrame(self.epochs))
        return frame.set_index("epoch") if len(frame) else frame

    @property
    def pictures(self) -> Pictures:
        """The pictures that it has written by name, such as ``learning_curves``."""
        return Pictures(self.path)

    @cached_property
    def model(self) -> Model:
        """The trained model: the best checkpoint, or the last one if there is no best.

        Raises:
            UserError: the run has no checkpoint.
        """
        from dlzoo.api.model import load

        return load(self.path, trust=self.trust)

    def plot(self) -> Figure:
        """The learning curves.

        Raises:
            UserError: no epoch has ended.
        """
        from dlzoo.utils import caller_state
        from dlzoo.visualization import curves

        if not self.epochs:
            raise UserError(f"{self.path} has no metrics.csv: no epoch has ended, or callbacks.history was left out")
        with caller_state.style():
            return curves.learning_curves(self.epochs, heading=self.path.name)

    def report(self, path: str | Path | None = None) -> Path:
        """Write one HTML page about the run, by default ``report.html`` in its folder; returns where it is."""
        from dlzoo.api import page

        output = paths.writable(str(path or self.path / "report.html"), "path")
        paths.write(output, page.of_run(self).encode(errors="backslashreplace"))
        return output

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags, see `tag`."""
        from dlzoo.api import runs

        return runs.tags_of(self.path)

    def tag(self, *tags: str) -> tuple[str, ...]:
        """Add tags, by which ``dlzoo.runs(tag=…)`` finds it; returns all that it has."""
        from dlzoo.api import runs

        return runs.tag(self.path, *tags)

    def untag(self, *tags: str) -> tuple[str, ...]:
        """Remove tags; returns those that it still has."""
        from dlzoo.api import runs

        return runs.untag(self.path, *tags)

    def rename(self, name: str) -> Path:
        """Give its folder another name in the same folder; returns the new path.

        Raises:
            UserError: it is running, is a trial of a sweep, or the name is taken.
        """
        from dlzoo.api import runs

        self.path = runs.rename(self.path, name)
        return self.path

    def delete(self) -> None:
        """Delete its folder with everything in it.

        Raises:
            UserError: it is running, is a trial of a sweep, or the folder holds something that no run writes.
        """
        from dlzoo.api import runs

        runs.delete(self.path)

    @property
    def title(self) -> str:
        """Model and data, such as ``lenet on mnist``."""
        chosen = run_files.choices(self.path)
        return visible(f"{chosen.get('model', 'a model')} on {chosen.get('data', 'data')}", keep="")

    def __repr__(self) -> str:
        from dlzoo.utils.formatting import format_metric

        tested = {name: value for name, value in self.metrics.items() if name.startswith("test/")}
        shown = ", ".join(f"{name} {format_metric(name, value)}" for name, value in tested.items())
        return visible(f"<Run {self.title}: {shown or self.results.get('status', 'unfinished')}; {self.path}>", keep="")

    def _repr_html_(self) -> str:
        from dlzoo.api import page

        return page.fragment(self)


class Pictures(Mapping[str, "Image"]):
    """The pictures in a run folder by name, opened when they are asked for.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.paths = {
            path.stem: path
            for path in sorted(folder.iterdir())
            if path.suffix.lower() in PICTURES and path.is_file() and run_files.is_inside(folder, path)
        }

    def __getitem__(self, name: str) -> Image:
        from dlzoo.data.images.decode import open_image
        from dlzoo.errors import nearest

        if name not in self.paths:
            raise UserError(f"the run has no picture {name!r}; {nearest(name, self.paths)}")
        return open_image(str(self.paths[name]))

    def __contains__(self, name: object) -> bool:
        return name in self.paths

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        return visible(f"<pictures: {', '.join(self.paths)}>", keep="")


def _short(key: str, value: object) -> object:
    """Only the class name of a ``_target_``."""
    return str(value).rpartition(".")[2] if key.endswith("_target_") else value
