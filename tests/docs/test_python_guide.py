"""The code in the guide to Python runs from top to bottom."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "python.md"


def test_its_code_runs(tmp_path: Path) -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "optimizer.lrr: torch.optim.Adam has no such option; did you mean 'lr'?" in done.stdout
    accuracy, shape = done.stdout.splitlines()[-1].split(maxsplit=1)
    assert float(accuracy) > 0.8
    assert shape == "torch.Size([2, 10])"
