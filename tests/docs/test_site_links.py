"""The check of the built site finds what is broken."""

from __future__ import annotations

from pathlib import Path

from scripts.docs import links


def test_what_leads_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "index.html").write_text(
        '<a href="a/">ok</a> <a href="a/#there">ok</a> <a href="a/#nowhere">x</a> <a href="b/">x</a> '
        '<img src="a/pixel.png"> <script src="https://example.org/x.js"></script> <a href="https://example.org">ok</a>'
    )
    (tmp_path / "a" / "index.html").write_text('<h2 id="there">A</h2> <a href="../../secret">x</a>')
    assert [*links.problems(tmp_path)] == [
        "a/index.html: ../../secret: there is no such file",
        "index.html: a/#nowhere: there is no such anchor",
        "index.html: b/: there is no such file",
        "index.html: a/pixel.png: there is no such file",
        "index.html: https://example.org/x.js: comes from another host",
    ]
