"""Sound that a model has generated."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dlzoo.errors import visible
from dlzoo.utils import files as paths
from dlzoo.utils import sound_files

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from dlzoo.inference.sound import Options
    from dlzoo.tasks.interfaces import SoundModel


class Sounds:
    """Recordings (N, L) in [-1, 1]. In a notebook they can be played.

    Args:
        tensor: the samples.
        sample_rate: samples per second.
        titles: what each is, such as its class.
    """

    def __init__(self, tensor: Tensor, sample_rate: int, titles: Sequence[str]) -> None:
        self.tensor = tensor
        self.sample_rate = sample_rate
        self.titles = list(titles)

    def __len__(self) -> int:
        return len(self.tensor)

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        array = self.tensor.cpu().numpy()
        return array if dtype is None else array.astype(dtype)

    def files(self) -> dict[str, bytes]:
        """``samples.png``, which shows samples and spectrograms, and a WAV file of each, by name."""
        import io

        from dlzoo.visualization import figures, sound

        picture = io.BytesIO()
        figures.render(sound.recordings(self.tensor, self.sample_rate, self.titles), picture, "png")
        waves = sound_files.wav_files(self.tensor.cpu().numpy(), self.sample_rate)
        return {"samples.png": picture.getvalue()} | waves

    def save(self, folder: str | Path) -> Path:
        """Write `files` to a folder, which is created.

        Raises:
            UserError: it cannot be created or written.
        """
        return paths.write_folder(str(folder), "folder", self.files(), default=Path(folder))

    def __repr__(self) -> str:
        return f"<{len(self)} recordings of {self.tensor.shape[1]:,} samples at {self.sample_rate:,} Hz>"

    def _repr_html_(self) -> str:
        from html import escape

        parts = [
            f'<p>{escape(visible(title))} <audio controls src="data:audio/wav;base64,'
            f'{base64.b64encode(sound_files.wav(samples, self.sample_rate)).decode()}"></audio></p>'
            for title, samples in zip(self.titles, self.tensor.cpu().numpy(), strict=True)
        ]
        return "".join(parts)


def sounds_of(task: SoundModel, options: Options) -> Sounds:
    """What a model generates, with its classes as titles."""
    from dlzoo.inference.sound import generate, labels_of

    names = task.spec.target.names if task.net.num_conditions else ()
    titles = [names[label] if names else "" for label in labels_of(task, options).tolist()]
    return Sounds(generate(task, options), task.spec.sample_rate, titles)
