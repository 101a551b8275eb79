"""Which files of a folder or an archive a trained net is given."""

from __future__ import annotations

from pathlib import Path

import pytest
from photo_folders import RED, paint
from sound_stand_ins import tone, write

from dlzoo.data.audio.decode import RECORDINGS
from dlzoo.data.folders.media import Media
from dlzoo.data.images.decode import IMAGES
from dlzoo.errors import UserError
from dlzoo.inference.inputs import audio_batches, files_of
from dlzoo.specs import AudioSpec, Unlabelled


@pytest.mark.parametrize("media", [IMAGES, RECORDINGS], ids=lambda media: media.noun)
def test_files_of_other_kinds_are_said(media: Media, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paint(tmp_path / "a" / "x.png", RED)
    write(tmp_path / "a" / "x.wav", tone(300))
    (tmp_path / "a" / "x.m4a").touch()
    (tmp_path / "notes.txt").touch()
    (name,) = files_of(tmp_path, media, "input")
    assert str(name).endswith((".png", ".wav"))
    err = capsys.readouterr().err
    assert f"warning: input={tmp_path}: skipped files that cannot be read as {media.noun}s: 1 .m4a, 1 ." in err
    Path(str(name)).unlink()
    with pytest.raises(UserError, match=rf"input=.* contains no {media.noun} \(.*1 \.m4a, 1 \..* convert them to"):
        files_of(tmp_path, media, "input")


def test_recordings_are_decoded_in_order_beside_those_that_cannot_be(tmp_path: Path) -> None:
    for i in range(20):
        write(tmp_path / f"{i:02}.wav", tone(200 + 50 * i))
    (tmp_path / "05.wav").write_bytes(b"no sound")
    problems: list[str] = []
    files = files_of(tmp_path, RECORDINGS, "input")
    ((names, x),) = audio_batches(files, AudioSpec(8000, 800, Unlabelled()), problems)
    assert names == [str(tmp_path / f"{i:02}.wav") for i in range(20) if i != 5]
    loudest = x[:, 0, :].diff().abs().amax(1)
    assert loudest.argsort().tolist() == [*range(19)], "higher tones change faster"
    assert len(problems) == 1
