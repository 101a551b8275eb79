"""The figures of the bench of two processes, from times that are known."""

from __future__ import annotations

from scripts.bench_ddp import table


def test_what_the_table_says() -> None:
    times = {"mlp": {"bare 1": [2.0, 4.0], "bare 2": [1.0, 2.0], "ours 1": [3.0, 3.0], "ours 2": [2.0, 3.0]}}
    found = table(times, 2, (1.0, 2.0))
    bare, ours = (dict(zip(found["columns"], row, strict=True)) for row in found["rows"])
    assert (bare["1 process, ms"], bare["2 processes, ms"]) == ("30.0", "15.0")
    assert (bare["speed-up"], bare["efficiency"], bare["2 processes / bare"]) == ("2.00", "100%", "1.00")
    assert (ours["speed-up"], ours["efficiency"], ours["2 processes / bare"]) == ("1.25", "62%", "1.75")
    assert "load 1.0 before and 2.0 after" in found["note"]
