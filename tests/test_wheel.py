"""A wheel built from the checkout holds the configs, so that its command works anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_an_installed_wheel_trains_outside_the_checkout(tmp_path: Path) -> None:
    built = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(built, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    assert (tmp_path / "site" / "dlzoo" / "configs" / "train.yaml").is_file()
    assert (tmp_path / "site" / "dlzoo" / "configs" / "schema" / "config.json").is_file()
    templates = (ROOT / "dlzoo" / "commands" / "templates").rglob("*.tmpl")
    missing = [file for file in templates if not (tmp_path / "site" / file.relative_to(ROOT)).is_file()]
    assert missing == []
    assert (tmp_path / "site" / "dlzoo" / "py.typed").is_file()
    code = "import dlzoo.commands.train as t; assert 'site' in t.__file__, t.__file__; t.main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "data=wine", "trainer=smoke", "callbacks=[progress,checkpoint]", "logger=none"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("outputs/*/*/results.json"))
