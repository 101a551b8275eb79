"""TensorBoard's HPARAMS tab for a sweep folder: each run's hyperparameters alongside its metrics.

TensorBoard takes the columns of that table from a single experiment, the first that it finds. So in a sweep the runs do
not write their own: the sweep writes one experiment with all columns, and a session into each run's folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlzoo.sweep.record import Record, Trial

SUFFIX = ".sweep"
"""Suffix of these event files, which are rewritten each time."""


def write(record: Record, folder: Path) -> None:
    """Write the experiment into the sweep folder, and a session into each run folder that exists on this machine."""
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    names = record.param_names
    numeric = {name: all(is_number(trial.params.get(name)) for trial in record.trials) for name in names}
    kinds = {True: api_pb2.DATA_TYPE_FLOAT64, False: api_pb2.DATA_TYPE_STRING}
    infos = [api_pb2.HParamInfo(name=name, type=kinds[numeric[name]]) for name in names]
    tags = [tag_of_best(record), *record.metric_names]
    metrics = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag)) for tag in tags]
    experiment = plugin_data_pb2.HParamsPluginData(
        experiment=api_pb2.Experiment(hparam_infos=infos, metric_infos=metrics)
    )
    write_events(folder, [message(metadata.EXPERIMENT_TAG, experiment)])
    for trial in record.trials:
        if trial.folder and Path(trial.folder).is_dir():
            params = {name: float(v) if numeric[name] else str(v) for name, v in trial.params.items()}
            write_events(Path(trial.folder), session(record, trial, params))


def session(record: Record, trial: Trial, params: dict[str, Any]) -> list[Any]:
    """The hyperparameters of a trial, its best value, and its status."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo

    start = SessionStartInfo()
    for name, value in params.items():
        setattr(start.hparams[name], "number_value" if isinstance(value, float) else "string_value", value)
    ends = {"running": "STATUS_RUNNING", "failed": "STATUS_FAILURE"}
    end = SessionEndInfo(status=api_pb2.Status.Value(ends.get(trial.state, "STATUS_SUCCESS")))
    best = [] if trial.value is None else [Summary.Value(tag=tag_of_best(record), simple_value=trial.value)]
    return [
        message(metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start)),
        Summary(value=best),
        message(metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end)),
    ]


def message(tag: str, content: Any) -> Any:
    """A summary for TensorBoard's HPARAMS plugin, whose own helpers need TensorFlow."""
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.plugins.hparams.metadata import PLUGIN_DATA_VERSION, PLUGIN_NAME

    content.version = PLUGIN_DATA_VERSION
    plugin = SummaryMetadata.PluginData(plugin_name=PLUGIN_NAME, content=content.SerializeToString())
    return Summary(value=[Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin))])


def tag_of_best(record: Record) -> str:
    return f"best_{record.metric}"


def write_events(folder: Path, summaries: Sequence[Any]) -> None:
    """Replace the sweep's event file in a folder."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for old in folder.glob(f"events.*{SUFFIX}"):
        old.unlink()
    writer = EventFileWriter(str(folder), filename_suffix=SUFFIX)
    for each in summaries:
        writer.add_event(Event(step=0, summary=each))
    writer.close()


def is_number(value: Any) -> bool:
    """Whether TensorBoard can sort by it as a number.

    >>> [is_number(value) for value in (1, "1e-3", "sgd", None)]
    [True, True, False, False]
    """
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
