"""A published archive that is damaged in whatever way is a sentence that names it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from dlzoo.data.audio.spoken_digits import SpokenDigits
from dlzoo.data.pairs.spa_eng import SpaEng
from dlzoo.data.text.published import SentimentSentences
from dlzoo.errors import UserError
from dlzoo.utils.download import zip_members

TEXT = b"".join(b"line %i\n" % (i * i) for i in range(300))


def write(path: Path, names: list[str], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name in names:
            folder, _, file = name.rpartition("/")
            archive.writestr(f"__MACOSX/{folder}/._{file}", b"?")
            archive.writestr(f"release-1/{name}", TEXT)
    return path


def patched(content: bytes, offset: int, value: bytes) -> bytes:
    """With a field changed in all entries of the directory, and in all local headers, where it is two bytes earlier."""
    changed = bytearray(content)
    for magic, start in ((b"PK\x01\x02", offset), (b"PK\x03\x04", offset - 2)):
        place = content.find(magic)
        while place >= 0:
            changed[place + start : place + start + len(value)] = value
            place = content.find(magic, place + 4)
    return bytes(changed)


def flipped(content: bytes) -> bytes:
    """With damage in the last compressed file."""
    header = content.rfind(b"PK\x03\x04")
    place = header + 30 + int.from_bytes(content[header + 26 : header + 28], "little") + 20
    return content[:place] + bytes(255 - byte for byte in content[place : place + 60]) + content[place + 60 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "no archive": lambda content: b"no archive",
    "cut off": lambda content: content[:-30],
    "flipped bits": flipped,
    "encrypted": lambda content: patched(content, 8, b"\x01\x00"),
    "unknown compression": lambda content: patched(content, 10, b"\x63\x00"),
    "another compression": lambda content: patched(content, 10, b"\x0e\x00"),
    "no local header": lambda content: content.replace(b"PK\x03\x04", b"PK\x03\x05"),
}


def test_files_are_found_in_whatever_folder_of_the_archive(tmp_path: Path) -> None:
    archive = write(tmp_path / "x.zip", ["texts/a.txt", "texts/ab.txt"])
    assert zip_members(archive, ["texts/a.txt"], max_bytes=len(TEXT)) == {"texts/a.txt": TEXT}
    with pytest.raises(UserError, match=r"x\.zip is damaged: texts/b\.txt is not in it"):
        zip_members(archive, ["texts/b.txt"], max_bytes=len(TEXT))
    with pytest.raises(
        UserError, match=r"x\.zip is damaged: texts/a\.txt in it has [\d,]+ bytes, far more than the published one"
    ):
        zip_members(archive, ["texts/a.txt"], max_bytes=len(TEXT) - 1)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_archive_is_a_sentence(damage: str, tmp_path: Path) -> None:
    archive = write(tmp_path / "x.zip", ["texts/a.txt"])
    archive.write_bytes(DAMAGES[damage](archive.read_bytes()))
    with pytest.raises(UserError, match=r"x\.zip is damaged: .+[^.]\. Delete it") as error:
        zip_members(archive, ["texts/a.txt"], max_bytes=len(TEXT))
    assert str(error.value).count("is damaged") == 1


@pytest.mark.parametrize("damage", ["encrypted", "unknown compression", "flipped bits"])
def test_published_data_say_so(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SpaEng, "num_bytes", len(TEXT))
    monkeypatch.setattr(SpokenDigits, "num_takes", 6)
    cases = {
        SpaEng.archive: (["spa-eng/spa.txt"], SpaEng(data_dir=tmp_path, source=2, target=1)),
        f"{SpokenDigits.folder}/{SpokenDigits.archive}": (
            [f"recordings/{name}" for name in SpokenDigits(data_dir=tmp_path).names],
            SpokenDigits(data_dir=tmp_path),
        ),
        SentimentSentences.archive: (
            [f"{SentimentSentences.folder}/{name}" for name in SentimentSentences.names],
            SentimentSentences(data_dir=tmp_path),
        ),
    }
    for name, (members, data) in cases.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        archive = write(tmp_path / name, members)
        archive.write_bytes(DAMAGES[damage](archive.read_bytes()))
        with pytest.raises(UserError, match=f"{archive.name.replace('+', '.')} is damaged: .+ Delete it"):
            data.setup()
