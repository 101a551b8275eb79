"""Mutation testing: change a module in one place at a time, and check whether the default tests notice.

    python scripts/mutate.py dlzoo/losses/functional.py [dlzoo/tasks/base.py …]      # survivors are printed
    DLZOO_WRITE_RESULTS=1 python scripts/mutate.py                        # all modules, and counts for RESULTS.md

For each mutant, the tests that execute the changed function run, fastest first, until one fails. The tests are imported
once; each mutant is a fork of that process with the changed code patched into the existing functions. Tests that start
processes are excluded, since these would import the unchanged files. A survivor is either killed by a new test or
explained in scripts/mutants.yaml.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import types
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import reliability
from scripts.mutations import mutants, patch_module

ROOT = Path(__file__).parents[1]

TESTS = yaml.safe_load((ROOT / "scripts" / "mutants.yaml").read_text(encoding="utf-8"))
"""``tests``: module -> names of test files; ``explained``: module -> {mutant: why no test needs to notice}."""
COLUMNS = ["module", "mutants", "tried", "killed", "equivalent", "explained", "open", "commit"]


def reasons(module: str) -> dict[str, str]:
    """``equivalent: …`` or ``explained: …`` for each mutant that no test needs to kill."""
    return TESTS["explained"].get(module) or {}


class Mutation:
    """A pytest plugin that runs the tests once to record what each executes, and then again for each mutant."""

    def __init__(self, modules: list[str], fraction: float) -> None:
        self.fraction = fraction
        self.files = {str(ROOT / module): module for module in modules}
        self.executed: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.seconds: dict[str, float] = {}
        self.failed = False
        self.survivors: dict[str, list[str]] = {module: [] for module in modules}
        self.num_mutants: Counter[str] = Counter()
        self.tried: Counter[str] = Counter()

    def profile(self, frame: types.FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename in self.files:
            name = frame.f_code.co_qualname.partition(".<")[0]
            self.executed[frame.f_code.co_filename, name].add(self.test)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Any:
        before = getattr(self, "test", "")
        if fixturedef.scope != "function":
            self.test = request.node.nodeid  # of all tests of the file
        try:
            return (yield)
        finally:
            self.test = before

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.failed |= report.failed

    def run(self, item: Any, following: Any = None) -> bool:
        """Whether a test passes."""
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        return not self.failed

    def pytest_runtestloop(self, session: Any) -> bool:
        items = session.items
        for i, item in enumerate(items):
            self.test, started = item.nodeid, time.monotonic()
            sys.setprofile(self.profile)
            passed = self.run(item, items[i + 1] if i + 1 < len(items) else None)
            sys.setprofile(None)
            self.seconds[item.nodeid] = time.monotonic() - started
            if not passed:
                raise SystemExit(f"{item.nodeid} fails without a mutant")
        if failed := self.killer(items, lambda: None):
            raise SystemExit(f"{failed} fails when run a second time without a mutant")
        for path, module in self.files.items():
            imported = importlib.import_module(module.removesuffix(".py").replace("/", "."))
            for change, tree in mutants(Path(path).read_text(encoding="utf-8")):
                self.num_mutants[module] += 1
                if random.Random(change.label).random() >= self.fraction:
                    continue
                self.tried[module] += 1
                tests = self.executed.get((path, ".".join(change.scope))) or {item.nodeid for item in items}
                chosen = [item for item in items if not tests.isdisjoint((item.nodeid, item.nodeid.partition("::")[0]))]
                if not self.killer(chosen, partial(patch_module, imported, change, tree)):
                    self.survivors[module].append(change.label)
                    if change.label not in reasons(module):
                        print(f"\nsurvives: {module}: {change.label}", flush=True)
        return True

    def killer(self, items: list[Any], change: Callable[[], None]) -> str | None:
        """The first test that fails after a change, in a fork of this process; None if all pass."""
        readable, writable = os.pipe()
        if child := os.fork():
            os.close(writable)
            with os.fdopen(readable) as pipe:
                failed = pipe.read()
            return (failed or "a crash or a time-out") if os.waitpid(child, 0)[1] else None
        signal.alarm(int(30 + 10 * sum(self.seconds[item.nodeid] for item in items)))  # the mutant may never terminate
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1), os.dup2(quiet, 2)
        passed = False
        try:
            change()
            for item in sorted(items, key=lambda item: self.seconds[item.nodeid]):
                if not self.run(item):
                    os.write(writable, item.nodeid.encode())
                    break
            else:
                passed = True
        finally:
            os._exit(0 if passed else 1)


def commit() -> str:
    """The commit of the working tree, ``-dirty`` if what is tested differs from it."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout.strip()

    return git("rev-parse", "--short=9", "HEAD") + "-dirty" * bool(git("status", "--porcelain", "dlzoo", "tests"))


def save(new: dict[str, list[Any]]) -> None:
    """Merge the counts of the tested modules into those stored for RESULTS.md; other modules keep their rows."""
    file = ROOT / "results" / "reliability" / "mutants.json"
    rows = {row[0]: row for row in json.loads(file.read_text(encoding="utf-8"))["rows"]} if file.is_file() else {}
    rows |= new
    reliability.save(
        ROOT,
        "mutants",
        title="Mutants",
        command="DLZOO_WRITE_RESULTS=1 python scripts/mutate.py",
        columns=COLUMNS,
        rows=[rows[module] for module in sorted(rows)],
        note="One change of a module at a time: a comparison, an operator, a number, an argument, a statement. Where "
        "fewer were tried than there are, it was a random sample, chosen by a hash of their text. Killed: "
        "a default test fails. Equivalent: no observable behaviour changes; explained: no promised behaviour changes. "
        "scripts/mutants.yaml gives the reason for each. A row holds for the module as it was at its commit; a "
        "module that changed when it moved keeps its old name until it is tested again. At 4c660f38e and before, that "
        "is the commit that recorded the row, and after new tests only the survivors were tried again.",
    )


def check_reasons(module: str) -> None:
    """`SystemExit` if scripts/mutants.yaml gives a reason for a mutant that the module does not have."""
    labels = {change.label for change, _ in mutants((ROOT / module).read_text(encoding="utf-8"))}
    if unknown := [label for label in reasons(module) if label not in labels]:
        raise SystemExit(f"scripts/mutants.yaml explains what is no mutant of {module}: " + "; ".join(unknown))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help=f"of {', '.join(TESTS['tests'])}; all")
    parser.add_argument("--fraction", type=float, default=1.0, help="of the mutants that is tried, a fixed sample")
    parser.add_argument("-k", dest="keyword", default="", help="only these tests, as pytest selects them: a sketch")
    parser.add_argument("--check", action="store_true", help="only whether all explained mutants exist")
    given = parser.parse_args()
    chosen = given.modules or [*TESTS["tests"]]
    os.chdir(ROOT)
    for module in chosen:
        check_reasons(module)
    if given.check:
        return
    if given.keyword and "DLZOO_WRITE_RESULTS" in os.environ:
        raise SystemExit("-k leaves tests out, so its counts are not for RESULTS.md")
    tested_at = commit()
    names = {name for module in chosen for name in TESTS["tests"][module].split()}
    files = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("tests/**/test_*.py") if path.stem[5:] in names)
    if missing := names - {Path(file).stem[5:] for file in files}:
        raise SystemExit(f"scripts/mutants.yaml names tests that do not exist: {', '.join(sorted(missing))}")
    mutation = Mutation(chosen, given.fraction)
    if code := pytest.main(
        ["-q", "-x", "-p", "no:cacheprovider", "--capture=sys", "-k", given.keyword, *files], plugins=[mutation]
    ):
        raise SystemExit(f"the tests did not run to their end: {code!r}")
    rows = {}
    for module in chosen:
        tried, left = mutation.tried[module], mutation.survivors[module]
        why = Counter(reasons(module).get(label, "open").partition(":")[0] for label in left)
        counts = [mutation.num_mutants[module], tried, tried - len(left), *(why[name] for name in COLUMNS[4:7])]
        rows[module] = [module, *counts, tested_at]
        print(dict(zip(COLUMNS, rows[module], strict=True)))
    if "DLZOO_WRITE_RESULTS" in os.environ:
        save(rows)


if __name__ == "__main__":
    main()
