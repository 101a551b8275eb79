"""Commands answer help and typos before torch, and what else takes seconds to load, is imported."""

from __future__ import annotations

import subprocess
import sys

CASES = [
    ("evaluate", "--help", 0),
    ("evaluate", "ckpt=x.ckpt data=wien", 2),
    ("predict", "ckpt=x.ckpt inptu=3", 2),
    ("filter_image", "input=x.png kernel=sobbel", 2),
    ("inspect_model", "--help", 0),
    ("inspect_model", "ckpt=x top_k=9", 2),
    ("inspect_model", "ckpt=x data=mnits", 2),
    ("sample", "ckpt=x promt=y", 2),
    ("play", "ckpt=x episods=3", 2),
    ("export", "ckpt=x format=onx", 2),
]
PROGRAM = f"""
import importlib, sys
for name, words, _ in {CASES}:
    sys.argv = ["command", *words.split()]
    try:
        importlib.import_module("dlzoo.commands." + name).main()
    except SystemExit as left:
        print("answer", name, words, left.code, *({{'torch', 'lightning', 'pandas', 'PIL'}} & {{*sys.modules}}))
"""


def test_each_command() -> None:
    """One process for all, since each would load the configs again."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    answers = [line for line in done.stdout.splitlines() if line.startswith("answer ")]
    assert answers == [f"answer {name} {words} {code}" for name, words, code in CASES], done.stderr
    assert "Traceback" not in done.stderr
