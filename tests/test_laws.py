"""The laws of the house that no linter checks; import-linter and ruff check the others (pyproject.toml)."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("busd", "gtfs", "replay")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
MAX_LINES = 440
"""about 400"""

CLOCKS = {
    "time.time",
    "time.time_ns",
    "time.monotonic",
    "time.monotonic_ns",
    "time.clock_gettime",
    "time.localtime",
    "time.gmtime",
    "time.ctime",
    "time.strftime",
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.datetime.today",
    "datetime.date.today",
    "pandas.Timestamp.now",
    "pd.Timestamp.now",
}
SLEEPS = {"time.sleep"}
STOPWATCHES = {"time.perf_counter", "time.perf_counter_ns", "time.process_time", "time.thread_time"}
DICE = {"random", "secrets", "uuid", "numpy.random", "np.random", "os.urandom"}
CORE = (
    "board",
    "candidates",
    "days",
    "engine",
    "errors",
    "lines",
    "notices",
    "parameters",
    "predict",
    "shown",
    "state",
    "table",
    "track",
    "tracking_parameters",
    "types",
)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def names(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every name and attribute; what was imported under another name by its real one."""
    known: dict[str, str] = {}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            known |= {alias.asname or alias.name.split(".")[0]: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Name | ast.Attribute):
            dotted = ast.unparse(node)
            first, dot, rest = dotted.partition(".")
            yield node.lineno, known.get(first, first) + dot + rest


def uses(path: Path, wanted: set[str]) -> list[str]:
    return [f"{path.relative_to(ROOT)}:{line} {name}" for line, name in names(path) if name in wanted]


def in_core(path: Path) -> bool:
    where = path.relative_to(ROOT).parts
    return where[0] == "gtfs" or (where[0] == "busd" and where[1].removesuffix(".py") in CORE)


def layers() -> list[set[str]]:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (contract,) = [c for c in config["contracts"] if c["id"] == "layers"]
    return [{part.strip(" ()") for part in re.split(r"[|:]", layer)} for layer in contract["layers"]]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_is_one_idea(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_LINES, f"{lines} lines; split it by idea"
    if path.name != "__init__.py" or lines > 0:
        assert ast.get_docstring(tree(path)), "says nowhere what it is for"


def test_only_the_clock_asks_for_the_time() -> None:
    clock = ROOT / "busd/clock.py"
    assert uses(clock, CLOCKS), "the check itself is broken"
    assert [use for path in SOURCES if path != clock for use in uses(path, CLOCKS)] == []


def test_nothing_sleeps_in_a_thread_or_a_test() -> None:
    assert [use for path in [*SOURCES, *TESTS] for use in uses(path, SLEEPS)] == []


def test_tests_wait_for_events_not_for_time() -> None:
    """Allowed: ``sleep(0)``, which lets others run, and a short sleep in a ``while`` that looks for what it waits for."""
    found = []
    for path in TESTS:
        asks = {id(node) for loop in ast.walk(tree(path)) if isinstance(loop, ast.While) for node in ast.walk(loop)}
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "asyncio.sleep":
                (delay,) = node.args
                seconds = delay.value if isinstance(delay, ast.Constant) else None
                if not (seconds == 0 or (id(node) in asks and isinstance(seconds, float) and seconds <= 0.05)):
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []


def test_the_core_reads_no_stopwatch_and_throws_no_dice() -> None:
    found = []
    for path in filter(in_core, SOURCES):
        found += uses(path, STOPWATCHES)
        found += [f"{path.relative_to(ROOT)}:{line} {name}" for line, name in names(path) if name in DICE]
    assert found == []


def test_every_room_has_its_layer() -> None:
    placed = set().union(*layers())
    rooms = {
        f"busd.{path.stem}"
        for path in (ROOT / "busd").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert sorted(rooms - placed - {"busd.__init__"}) == []
    assert {"gtfs", "replay"} <= placed


def test_core_here_is_the_core_of_the_contract() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (contract,) = [c for c in config["contracts"] if c["id"] == "core"]
    assert set(contract["source_modules"]) == {"gtfs", *(f"busd.{name}" for name in CORE)}


def test_nothing_is_patched_in_tests() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in TESTS
        for line, name in names(path)
        if name.startswith(("unittest.mock", "mock.")) or name == "pytest.MonkeyPatch"
    ]
    assert found == []


def test_pickle_and_eval_have_no_place() -> None:
    """Both turn data from outside into code."""
    wanted = {"pickle.load", "pickle.loads", "eval", "exec", "marshal.loads", "yaml.load"}
    assert [use for path in SOURCES for use in uses(path, wanted)] == []
