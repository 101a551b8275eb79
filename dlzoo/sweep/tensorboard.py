"""TensorBoard's HPARAMS tab for a sweep folder: each trial with its hyperparameters and its best value.

A run that ends writes its hyperparameters itself (dlzoo/callbacks/tensorboard_logger.py). The sweep adds the best value
of each, and the hyperparameters of those that did not end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dlzoo.sweep.record import Record, Trial
from dlzoo.sweep.space import as_number

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

SUFFIX = ".sweep"
"""Suffix of these event files, which are rewritten each time."""


def write(record: Record, folder: Path) -> None:
    """Write a session into each run folder that exists on this machine."""
    names = record.param_names
    numeric = {name: all(as_number(trial.params.get(name)) is not None for trial in record.trials) for name in names}
    remove_events(folder)  # of an earlier version, which fixed the columns of the table
    for trial in record.trials:
        if trial.folder and Path(trial.folder).is_dir():
            numbers = {name: as_number(value) for name, value in trial.params.items() if numeric[name]}
            others = {name: str(value) for name, value in trial.params.items() if not numeric[name]}
            params = others | {name: number for name, number in numbers.items() if number is not None}
            write_events(Path(trial.folder), session(record, trial, params))


def session(record: Record, trial: Trial, params: Mapping[str, float | str]) -> list[Summary]:
    """The best value of a trial, and unless it has written them itself, its hyperparameters and its status."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo

    best = (
        []
        if trial.value is None
        else [Summary(value=[Summary.Value(tag=tag_of_best(record), simple_value=trial.value)])]
    )
    if trial.state == "complete" and [*Path(trial.folder).glob("hparams.yaml")]:
        return best
    start = SessionStartInfo()
    for name, value in params.items():
        setattr(start.hparams[name], "number_value" if isinstance(value, float) else "string_value", value)
    ends = {"running": "STATUS_RUNNING", "failed": "STATUS_FAILURE"}
    end = SessionEndInfo(status=api_pb2.Status.Value(ends.get(trial.state, "STATUS_SUCCESS")))
    return [
        message(metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start)),
        *best,
        message(metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end)),
    ]


def message(tag: str, content: HParamsPluginData) -> Summary:
    """A summary for TensorBoard's HPARAMS plugin, whose own helpers need TensorFlow."""
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.plugins.hparams.metadata import PLUGIN_DATA_VERSION, PLUGIN_NAME

    content.version = PLUGIN_DATA_VERSION
    plugin = SummaryMetadata.PluginData(plugin_name=PLUGIN_NAME, content=content.SerializeToString())
    return Summary(value=[Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin))])


def tag_of_best(record: Record) -> str:
    """In the group of the metric, so that it does not stand in front of all others: val/best_accuracy."""
    group, _, name = str(record.metric).rpartition("/")
    return f"{group}/best_{name}" if group else f"best_{name}"


def remove_events(folder: Path) -> None:
    """Remove the sweep's event files from a folder, which may hold folders of such names if it comes from elsewhere."""
    for old in folder.glob(f"events.*{SUFFIX}"):
        if old.is_symlink() or not old.is_dir():
            old.unlink()


def write_events(folder: Path, summaries: Sequence[Summary]) -> None:
    """Replace the sweep's event file in a folder."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    remove_events(folder)
    writer = EventFileWriter(str(folder), filename_suffix=SUFFIX)
    for each in summaries:
        writer.add_event(Event(step=0, summary=each))
    writer.close()
