"""A table of houses and its CSV file, for the tests beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dlzoo.data.tables.csv import CsvTable

Make = Callable[..., CsvTable]
CITIES = ("Berlin", "Lima", "Quito")


def houses(num_rows: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "area": rng.permutation(num_rows) * 2.5 + 30,  # each another: a row is known by it
            "rooms": rng.integers(1, 6, num_rows),
            "city": [CITIES[i % 3] for i in range(num_rows)],
            "price": rng.uniform(1e5, 9e5, num_rows).round(2),
            "tax": rng.uniform(1, 9, num_rows).round(3),
            "kind": [("flat", "house")[i % 2] for i in range(num_rows)],
            "label": [str(i % 4) for i in range(num_rows)],
            "trust": rng.uniform(0, 2, num_rows).round(2),
        }
    )


def maker(folder: Path) -> Make:
    """What writes a frame (or a text) as houses.csv and reads it: only area, rooms and city are features."""

    def build(table: pd.DataFrame | str, *, target: Any = "price", **options: Any) -> CsvTable:
        text = table if isinstance(table, str) else table.to_csv(index=False)
        (folder / "houses.csv").write_text(text)
        if not isinstance(table, str):
            taken = [target] if isinstance(target, str) else list(target)
            others = ["price", "tax", "kind", "label", "trust"]
            kept = {*taken, options.get("weight")}
            options["drop"] = [c for c in others if c not in kept and c in table] + options.get("drop", [])
        return CsvTable(path=str(folder / "houses.csv"), target=target, **options)

    return build


def split_rows(data: CsvTable, table: pd.DataFrame, split: Any) -> list[int]:
    """The numbers of a split's rows, found by their area."""
    areas = data.arrays(split).x[:, 0].tolist()
    return [int((table["area"] - area).abs().argmin()) for area in areas]
