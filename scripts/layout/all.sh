# bash scripts/layout/all.sh [BRANCH] DIR: the moves to the layers on a fresh clone of a branch of this repository, in a few commits
set -euo pipefail
HERE="$(cd "$(dirname "$0")" && pwd)"; REPO="$(cd "$HERE/../.." && pwd)"; BRANCH="$1"; DIR="$2"
TOOLS="$(mktemp -d)"; cp -r "$HERE/." "$TOOLS"; T="$TOOLS"
RF() { ruff check --fix -q . >/dev/null || true; ruff format -q . || true; git add -A; }
rm -rf "$DIR"; git clone -q -b "$BRANCH" "$REPO" "$DIR"; cd "$DIR"; git rm -rq scripts/layout
python3 "$T/make_moves.py"; python3 "$T/make_splits.py"
git rm -q scripts/reproduce.py scripts/export_matrix.py scripts/compare_searches.py
python3 "$T/move_files.py" "$T/moves.json" .; python3 "$T/after_move.py" .; RF
git commit -qm "The moves to the layers: files, imports and names that point at them; made by a script, nothing else changes"
python3 "$T/split.py" "$T/splits.json" . >/dev/null; RF
git commit -qm "The splits: what belongs to another layer moves into a module of it; made by a script, nothing else changes"
python3 "$T/patch_code.py" .; RF
git commit -qm "One entry: train.py is a call, a trial reports through its channel, specs and targets come from where they are defined"
python3 "$T/patch_more.py" .; RF
git commit -qm "dlzoo <command> for all commands, names of earlier versions are read, and the layers are a contract that import-linter holds"
python3 "$T/split.py" "$T/splits_tests.json" . >/dev/null; RF; git commit -qm "Tests: what they share lies in modules of its own"
python3 "$T/mirror_tests.py" .
git mv tests/scripts tests/benchmarks
{ grep -rl "tests/scripts/" tests results docs scripts dlzoo README.md || true; } | xargs -r sed -i 's#tests/scripts/#tests/benchmarks/#g'
python3 "$T/patch_tests.py" .; RF; git commit -qm "Tests mirror the package"
ruff check . --output-format concise || true
