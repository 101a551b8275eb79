"""Whatever is given, a clear message or a right result: hypothesis over options, words, CSV and image bytes."""

from __future__ import annotations

import itertools
import math
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bad_input import ROWS, picture
from hydra.errors import HydraException, InstantiationException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlzoo.config import compose as config
from dlzoo.config import instantiate as build
from dlzoo.config import introspection as signatures
from dlzoo.config import overrides, schema
from dlzoo.config.run_config import RunConfig
from dlzoo.data.images.decode import Decode
from dlzoo.data.series.csv import read_series
from dlzoo.data.tables.csv import CsvTable
from dlzoo.errors import MISTAKES, UserError
from dlzoo.training import trainer as training_trainer

SECONDS = 60
"""That one example may take, on a busy machine."""

both = pytest.mark.parametrize(
    "num", [pytest.param(1, id="few"), pytest.param(15, id="many", marks=pytest.mark.reliability)]
)
"""Few examples by default; many with -m reliability."""


def explore(body: Callable[..., None], num: int, **strategies: Any) -> None:
    """Call ``body`` with so many examples, each within `SECONDS`."""
    # a deadline of hypothesis would only be looked at when an example ends
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    settings(max_examples=num, deadline=None, suppress_health_check=checks, database=None)(given(**strategies)(body))()


@contextmanager
def answered() -> Iterator[None]:
    """Passes where all goes well or `UserError` has something to say; fails for any other exception, and for a hang."""

    def hangs(*_: Any) -> None:
        raise TimeoutError(f"it took more than {SECONDS} s")

    signal.signal(signal.SIGALRM, hangs)
    signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (UserError, HydraException, OmegaConfBaseException) as error:  # what train.py answers in one line
        cause = error.__cause__ if isinstance(error, InstantiationException) else error
        if not isinstance(cause, (UserError, HydraException, OmegaConfBaseException, *MISTAKES)):
            raise
        assert f"{cause}".strip()
    finally:
        signal.alarm(0)


# ------------------------------------------------------------------------------------------------ options

PAIRS = (
    "model=mlp data=digits",
    "model=cnn data=digits augment=[flips,mixup]",
    "model=resnet20 data=digits scheduler=onecycle",
    "model=dcgan data=digits",
    "model=vae data=digits optimizer=lbfgs",
    "model=lstm data=air_passengers",
    "model=char_rnn data=sentences_stream",
    "model=bilstm data=sentiment_sentences callbacks=[default,ema,early_stopping]",
    "model=wide_deep data=wine",
    "model=dqn data=cartpole",
)
ODD = st.sampled_from(
    [
        *(0, -1, 1, 2, 3, 10**6, 10**9, 2**31, 2**62, 10**20, -(10**20)),
        *(0.0, 0.5, -0.5, 1.5, 1e30, -1e30, 1e-30, math.inf, -math.inf, math.nan),
        *("", " ", "a", "relu", "none", "null", "0", "1e5", "é", "x" * 1000, "/", "\0", "../..", "${seed}", "${no}"),
        *(None, True, False, [], [0], [1], [-1], [3, 4], ["a"], [None], [1.5], [[1]], [10**9], {}, {"a": 1}),
        *({"_target_": "os.system"}, {"_target_": 5}, "os.system"),
    ]
)


class SomeTask:
    monitor = ("val/loss", "min")
    has_parts = False

    def setup_trainer(self, trainer: Any) -> None: ...


def places(cfg: Any) -> list[str]:
    """All options of a run, whether they stand in a file or in a signature alone."""
    nodes = [*schema.NODES[:-2], *(f"callbacks.{name}" for name in cfg.callbacks)]
    targets = {node: OmegaConf.select(cfg, f"{node}._target_") for node in nodes}
    found = [
        (node, ["_target_", "typo", *signatures.arguments(signatures.locate(t, ""))]) for node, t in targets.items()
    ]
    return [*(f"{node}.{key}" for node, keys in found for key in keys), "seed", "deterministic", "net", "typo"]


@both
def test_any_value_of_any_option(num: int, tmp_path: Path) -> None:
    configs = [config.compose([*pair.split(), "logger=none", "trainer.accelerator=cpu"]) for pair in PAIRS]
    options = [places(cfg) for cfg in configs]

    def body(data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(range(len(PAIRS))))
        cfg = configs[number].copy()
        changes = data.draw(st.dictionaries(st.sampled_from(options[number]), ODD, min_size=1, max_size=2))
        with answered():
            for key, value in changes.items():
                OmegaConf.update(cfg, key, value, merge=False, force_add=True)
            schema.check(cfg)
            source = build.build_data(cfg.data)
            build.check_fit(RunConfig.from_hydra(cfg), source)
            training_trainer.build_trainer(RunConfig.from_hydra(cfg), SomeTask(), tmp_path, {}, [])  # type: ignore[arg-type]

    explore(body, 50 * num, data=st.data())


@both
def test_any_word(num: int) -> None:
    key = st.sampled_from(["data.path", "seed", "net.hidden", "model", "+x", "~net", "a@b", "", "hydra.x"])
    value = st.text(max_size=20) | st.sampled_from(
        ["[1,2", "{a", "a,b", "${x}", "'", '"', "\\", "choice(1,2)", "range(0,3)"]
    )
    word = st.builds("{}={}".format, key, value) | st.text(max_size=20)

    def body(words: list[str]) -> None:
        with answered():
            schema.check(config.compose(words))

    def round_trip(text: str) -> None:
        with answered():
            assert overrides.parse_all([overrides.quoted("data.path", text)])[0].value() == text

    explore(body, 8 * num, words=st.lists(word, min_size=1, max_size=2))
    explore(round_trip, 40 * num, text=st.text())


# ------------------------------------------------------------------------------------------------ bytes of files


@st.composite
def spoilt(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file with some bytes taken out, put in, changed, moved or doubled."""
    content = whole
    for _ in range(draw(st.integers(1, 4))):
        at, length = draw(st.integers(0, len(content))), draw(st.integers(0, 40))
        piece = content[at : at + length]
        new = draw(st.sampled_from([b"", piece * 2, b",", b"\n", b'"', b"\0", b";", b"\xff", b"nan", b"-1e999", b"\r"]))
        content = content[:at] + draw(st.sampled_from([new, draw(st.binary(max_size=8))])) + content[at + length :]
    return content


TABLES = [
    ROWS.encode(),
    b"y,a\n" + b"".join(b"%d.5,%d\n" % (i, i * i) for i in range(40)),
    ROWS.replace(",", ";").encode("utf-16"),
    "größe,y\n".encode() + "".join(f'"é, {i % 4}",{i % 2}\n' for i in range(40)).encode(),
]
OPTIONS = [{}, {"missing": "impute"}, {"separator": ";", "encoding": "utf-16"}, {"standardize": True, "decimal": "."}]


@both
def test_any_table(num: int, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    each = [st.tuples(spoilt(table), st.sampled_from(OPTIONS)) for table in TABLES]

    def body(case: tuple[bytes, dict[str, Any]]) -> None:
        path.write_bytes(case[0])
        with answered():
            data = CsvTable(path=str(path), target="y", **case[1])
            data.setup()
            parts = [data.arrays(split) for split in ("train", "val", "test")]  # type: ignore[arg-type]
            assert sum(part.num_rows for part in parts) == len(data._frame)
            assert all(part.x.isfinite().all() and part.x.shape[1] == data.spec.num_features for part in parts)  # type: ignore[union-attr]

    explore(body, 60 * num, case=st.one_of(each))


@both
def test_any_series(num: int, tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    days = "day,v\n" + "".join(f"2020-{m:02}-{d:02},{m * d}\n" for m, d in itertools.product((1, 2), range(1, 29)))

    def body(content: bytes) -> None:
        path.write_bytes(content)
        with answered():
            found = read_series(path)
            assert found.values.isfinite().all()
            assert len(found.values) == len(found.times)

    explore(body, 60 * num, content=spoilt(days.encode()))


@both
def test_any_image(num: int, tmp_path: Path) -> None:
    kinds = [spoilt(picture(kind)) for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM")]

    def body(content: bytes) -> None:
        (tmp_path / "image").write_bytes(content)
        with answered():
            assert Decode(3, 6, 5)(str(tmp_path / "image")).shape == (3, 6, 5)

    explore(body, 100 * num, content=st.one_of(kinds))
