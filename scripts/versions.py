"""Run the tests with the lowest versions that pyproject.toml allows, or with the newest, prereleases included.

    python scripts/versions.py lowest                       # the default tests
    python scripts/versions.py prereleases tests/nets -x    # only these, as pytest takes them

Each runs in a virtual environment of its own in build/versions. The exit code is that of pytest; an environment that
cannot be installed says which versions disagree.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("lowest", "prereleases")
SHOWN = ("torch", "torchvision", "lightning", "hydra-core", "omegaconf", "numpy", "pandas", "gymnasium")


def main(argv: Sequence[str]) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    options, tests = parser.parse_known_args(argv)
    folder = ROOT / "build" / "versions" / options.kind
    python = install(folder, options.kind)
    shown = subprocess.run([python, "-m", "pip", "list", "--format=freeze"], check=True, capture_output=True, text=True)
    print(*(line for line in shown.stdout.splitlines() if line.partition("==")[0].lower() in SHOWN), flush=True)
    sys.exit(subprocess.run([python, "-m", "pytest", "-q", *tests], cwd=ROOT, check=False).returncode)


def install(folder: Path, kind: str) -> str:
    """An environment with the test extra, in a folder; its interpreter."""
    python = str(folder / "bin" / "python")
    if not Path(python).exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    words, environment = ["-e", f"{ROOT}[test]"], dict(os.environ)
    if kind == "lowest":
        constraints = folder / "lowest.txt"
        constraints.write_text("\n".join(lowest(requirements())) + "\n")
        environment["PIP_CONSTRAINT"] = str(constraints)
    else:
        words = ["--pre", "--upgrade", "--upgrade-strategy=eager", *words]
    log = folder / "pip.log"
    command = [python, "-m", "pip", "install", *words]
    with log.open("w") as output:
        done = subprocess.run(command, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        conflicts = log.read_text().partition("The conflict is caused by:")[2].partition("To fix this")[0]
        sys.exit(f"the {kind} versions cannot be installed, see {log}\n{conflicts.strip()}")
    return python


def requirements() -> list[Requirement]:
    """Of dlzoo and all its extras, without those on itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = (text for texts in project["optional-dependencies"].values() for text in texts)
    found = map(Requirement, [*project["dependencies"], *extras])
    return [requirement for requirement in found if canonicalize_name(requirement.name) != "dlzoo"]


def lowest(required: Sequence[Requirement]) -> Iterator[str]:
    """Constraints to the lowest version that each requirement allows.

    >>> list(lowest([Requirement("rich>=13"), Requirement("hydra-core>=1.3.2,<1.4"), Requirement("pytest")]))
    ['rich==13', 'hydra-core==1.3.2']
    """
    for requirement in required:
        for specifier in requirement.specifier:
            if specifier.operator == ">=":
                yield f"{requirement.name}=={specifier.version}"


if __name__ == "__main__":
    main(sys.argv[1:])
