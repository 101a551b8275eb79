"""Lightning's checkpoint plugin."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch.serialization import MAP_LOCATION

from dlzoo.checkpoint import run_paths, sidecar
from dlzoo.checkpoint.format import StoredCheckpoint, is_whole
from dlzoo.checkpoint.load import placed
from dlzoo.tasks import base
from dlzoo.utils import archives as durable
from dlzoo.utils.archives import previous_path
from dlzoo.utils.checkpoint_files import read
from dlzoo.utils.state_checks import mapping


class CheckpointIO(TorchCheckpointIO):
    """Writes and reads Lightning's checkpoints with the manifest, atomically, and as plain data only.

    The previous checkpoint is kept alongside the new one, if it belongs to this run and is intact.

    Args:
        manifest: from `make_manifest`.
        run_dir: the run folder, which stored paths are relative to; None: paths are stored unchanged.
        stored: the checkpoint to resume from, which is not read again; emptied once it is loaded.
    """

    def __init__(
        self, manifest: Mapping[str, object], run_dir: Path | None = None, stored: StoredCheckpoint | None = None
    ) -> None:
        super().__init__()
        self.manifest = manifest
        self.run_dir = None if run_dir is None else run_dir.resolve()
        self.stored = stored
        self.intact: set[Path] = set()
        """Intact files of this run, or of the one that it resumes."""

    def save_checkpoint(self, checkpoint: dict[str, object], path: str | Path, storage_options: object = None) -> None:
        path = placed(Path(path))
        try:
            self.write(path, checkpoint)
        except (OSError, RuntimeError) as error:
            cause = durable.os_error(error)
            if cause is None:
                raise
            raise durable.write_error(path, cause) from None

    def write(self, path: Path, checkpoint: dict[str, object]) -> None:
        arrays, previous = checkpoint.pop(base.SIDECAR_ARRAYS, None), previous_path(path)
        assert arrays is None or isinstance(arrays, dict)
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.remove_stale(path)
        sidecar.remove_unused(path)
        content = {**checkpoint, **sidecar.write(path, arrays), "dlzoo": self.manifest}
        if self.run_dir is not None and "callbacks" in content:
            content["callbacks"] = run_paths.stored(mapping(content["callbacks"], "callbacks"), self.run_dir)
        kept = path in self.intact and path.is_file()
        durable.write(path, lambda file: torch.save(content, file), keep=kept)
        self.intact |= {path, previous} if kept else {path}
        if previous not in self.intact:  # of another run
            previous.unlink(missing_ok=True)
        sidecar.remove_unused(path)

    def load_checkpoint(
        self, path: str | Path, map_location: MAP_LOCATION = None, weights_only: bool | None = None
    ) -> dict[str, object]:
        path = Path(path).resolve()
        stored, self.stored = self.stored, None
        is_read = stored is not None and stored.path.resolve() == path
        if stored is not None and is_read:
            content = dict(stored.content)
            stored.content.clear()  # Lightning drops its copy once everything is restored
        else:
            content = read(path, map_location)
        if self.run_dir is not None and "callbacks" in content:
            content["callbacks"] = run_paths.loaded(mapping(content["callbacks"], "callbacks"), path, self.run_dir)
        self.intact |= {other for other in path.parent.glob("*.ckpt") if (other == path and is_read) or is_whole(other)}
        return content | sidecar.read(path, content, is_checked=is_read)

    def remove_checkpoint(self, path: str | Path) -> None:
        super().remove_checkpoint(path)
        previous_path(Path(path)).unlink(missing_ok=True)
        sidecar.remove_unused(Path(path))
