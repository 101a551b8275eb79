"""How Lightning writes and reads checkpoints here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from dlzoo.checkpoint import run_paths
from dlzoo.checkpoint import sidecar as beside
from dlzoo.checkpoint.format import StoredCheckpoint, is_whole
from dlzoo.checkpoint.load import placed
from dlzoo.tasks import base
from dlzoo.utils import archives as durable
from dlzoo.utils.archives import previous_of
from dlzoo.utils.checkpoint_files import read


class CheckpointIO(TorchCheckpointIO):
    """How Lightning writes and reads checkpoints here: with the card, atomically, and as plain data only.

    The checkpoint that was there before stays beside the new one, if it is of this run and whole.

    Args:
        card: what `make_card` gives.
        run_dir: the run folder, from which the paths in a checkpoint start; None: they stay as they are.
        stored: what the run continues from: it is not read again, and is empty once it is loaded.
    """

    def __init__(
        self, card: dict[str, Any], run_dir: Path | None = None, stored: StoredCheckpoint | None = None
    ) -> None:
        super().__init__()
        self.card = card
        self.run_dir = None if run_dir is None else run_dir.resolve()
        self.stored = stored
        self.own: set[Path] = set()
        """Whole files of this run, or of the one that it continues."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = placed(Path(path))
        try:
            self.write(path, checkpoint)
        except (OSError, RuntimeError) as error:
            cause = durable.os_error(error)
            if cause is None:
                raise
            raise durable.write_error(path, cause) from None

    def write(self, path: Path, checkpoint: dict[str, Any]) -> None:
        arrays, before = checkpoint.pop(base.BESIDE, None), previous_of(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.remove_stale(path)
        beside.remove_unused(path)
        content = {**checkpoint, **beside.write(path, arrays), "dlzoo": self.card}
        if self.run_dir is not None and "callbacks" in content:
            content["callbacks"] = run_paths.stored(content["callbacks"], self.run_dir)
        kept = path in self.own and path.is_file()
        durable.write(path, lambda file: torch.save(content, file), keep=kept)
        self.own |= {path, before} if kept else {path}
        if before not in self.own:  # of another run
            before.unlink(missing_ok=True)
        beside.remove_unused(path)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        path = Path(path).resolve()
        stored, self.stored = self.stored, None
        is_read = stored is not None and stored.path.resolve() == path
        if stored is not None and is_read:
            content = dict(stored.content)
            stored.content.clear()  # Lightning forgets it when all is restored
        else:
            content = read(path, map_location)
        if self.run_dir is not None and "callbacks" in content:
            content["callbacks"] = run_paths.loaded(content["callbacks"], path, self.run_dir)
        self.own |= {other for other in path.parent.glob("*.ckpt") if (other == path and is_read) or is_whole(other)}
        return content | beside.read(path, content, is_checked=is_read)

    def remove_checkpoint(self, path: Any) -> None:
        super().remove_checkpoint(path)
        previous_of(Path(path)).unlink(missing_ok=True)
        beside.remove_unused(Path(path))
