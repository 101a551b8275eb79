"""What a small file unpacks to is bounded."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from dlzoo.data import text_reader
from dlzoo.data.text_reader import read_text
from dlzoo.errors import UserError

LINE = b"a b\n"


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)])
def test_a_small_file_becomes_no_large_text(
    suffix: str, pack: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """300 kB of lines of a letter became 7 GB of words."""
    assert text_reader.MAX_TEXT_BYTES == 2**26
    monkeypatch.setattr(text_reader, "MAX_TEXT_BYTES", 2**20)
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(pack(LINE * 2**18))
    assert len(read_text(path)) == 2**20
    path.write_bytes(pack(LINE * (2**18 + 1)))
    with pytest.raises(UserError, match=r"decompresses to more than 1,048,576 bytes: if you trust it, decompress it"):
        read_text(path)
