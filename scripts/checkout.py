"""The commit that figures are made with: a checkout of its own, so that files may be edited while runs go on."""

from __future__ import annotations

import subprocess
from pathlib import Path

from dlzoo.errors import UserError

GENERATED = ("results", "RESULTS.md", "docs/*.png")
"""What the scripts themselves write: it may differ from the commit."""


def git(root: Path, *arguments: str) -> str:
    """The output of git in a folder.

    Raises:
        UserError: the command failed; with git's own message.
    """
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise UserError("git is not installed; --dirty runs the files as they are") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise UserError(f"git {arguments[0]}: {lines[-1]}; --dirty runs the files as they are")
    return done.stdout.rstrip("\n")


def refuse_changes(root: Path) -> None:
    """`UserError` if files differ from the commit, other than those that the scripts write."""
    excluded = [f":(exclude){pattern}" for pattern in GENERATED]
    lines = git(root, "status", "--porcelain", "--", ".", *excluded).splitlines()
    if lines:
        names = ", ".join(line[3:] for line in lines[:3])
        more = f" and {len(lines) - 3} more" if len(lines) > 3 else ""
        raise UserError(
            f"uncommitted changes in {names}{more}: figures must come from a commit. Commit them, or add --dirty, "
            "which marks the figures"
        )


def clean_checkout(root: Path) -> Path:
    """A folder that holds the files of the current commit, and nothing else that git knows of.

    Raises:
        UserError: there are uncommitted changes, or this is not a git repository.
    """
    refuse_changes(root)
    folder = root / "outputs" / "reproduce" / ".checkout"
    commit = git(root, "rev-parse", "HEAD")
    if (folder / ".git").exists():
        git(folder, "checkout", "--quiet", "--force", "--detach", commit)
    else:
        git(root, "worktree", "prune")
        git(root, "worktree", "add", "--quiet", "--force", "--detach", str(folder), commit)
    return folder
