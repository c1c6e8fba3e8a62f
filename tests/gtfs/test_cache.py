"""Compiling in a child process: cached by digest, whole or not at all, and every death of the child is one error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import gtfs
from gtfs.cache import NETWORKS_KEPT, Child, findings_of, load_compiled, load_network
from gtfs.errors import GtfsError
from gtfs.testing import zip_from_map


@pytest.fixture
def feed(tmp_path: Path) -> Path:
    path = tmp_path / "feed.zip"
    path.write_bytes(zip_from_map("A---B---C", {"1": "ABC"}))
    return path


def _script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def _names(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir())


def test_compiles_once_and_is_found_again(feed: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "gtfs"
    network = gtfs.load_network(feed, cache)
    assert _names(cache) == [network.digest]
    never = Child(python=_script(tmp_path / "never", "exit 9"))
    again = load_network(feed, cache, never)
    assert again.digest == network.digest
    assert list(again.stop_id) == ["A", "B", "C"]
    assert load_compiled(network.digest, cache).digest == network.digest
    assert findings_of(network, cache).usable
    assert network.digest == gtfs.compile_feed(feed)[0].digest


def test_another_feed_is_another_network(feed: Path, tmp_path: Path) -> None:
    first = gtfs.load_network(feed, tmp_path / "cache")
    feed.write_bytes(zip_from_map("A---B", {"1": "AB"}))
    second = gtfs.load_network(feed, tmp_path / "cache")
    assert _names(tmp_path / "cache") == sorted([first.digest, second.digest])
    assert len(first.stop_id) == 3, "the old one stays usable"


def test_damaged_cache_is_compiled_again(feed: Path, tmp_path: Path) -> None:
    network = gtfs.load_network(feed, tmp_path / "cache")
    (tmp_path / "cache" / network.digest / "stop_x.npy").unlink()
    assert len(gtfs.load_network(feed, tmp_path / "cache").stop_x) == 3


def test_bad_feed_is_one_clear_error_and_leaves_nothing(feed: Path, tmp_path: Path) -> None:
    feed.write_bytes(b"<html>")
    with pytest.raises(GtfsError, match=r"feed.zip: not a usable zip"):
        gtfs.load_network(feed, tmp_path / "cache")
    assert _names(tmp_path / "cache") == []
    with pytest.raises(GtfsError, match="cannot be read"):
        gtfs.load_network(tmp_path / "none.zip", tmp_path / "cache")


def test_limits_reach_the_child(feed: Path, tmp_path: Path) -> None:
    with pytest.raises(GtfsError, match="at most 2 are read"):
        load_network(feed, tmp_path / "cache", Child(limits={"rows": 2}))


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("kill -9 $$", "killed by signal 9"),
        ("kill -11 $$", "killed by signal 11"),
        ("echo hello; echo oh dear >&2; exit 3", "failed with status 3: oh dear"),
        ("exit 0", "failed with status 0"),
        ("echo '{\"digest\": 7'", "failed with status 0"),
        ("echo '[]'", "failed with status 0"),
    ],
)
def test_death_of_the_child_is_an_error(feed: Path, tmp_path: Path, script: str, message: str) -> None:
    with pytest.raises(GtfsError, match=message):
        load_network(feed, tmp_path / "cache", Child(python=_script(tmp_path / "child", script)))
    assert _names(tmp_path / "cache") == []


def test_a_child_that_takes_too_long_is_stopped(feed: Path, tmp_path: Path) -> None:
    child = Child(python=_script(tmp_path / "child", "exec sleep 60"), timeout_s=0.2)
    with pytest.raises(GtfsError, match=r"took longer than 0\.2 s and was stopped"):
        load_network(feed, tmp_path / "cache", child)
    assert _names(tmp_path / "cache") == []


def test_out_of_memory_is_an_error(feed: Path, tmp_path: Path) -> None:
    with pytest.raises(GtfsError, match=r"compil"):
        load_network(feed, tmp_path / "cache", Child(max_memory=50 << 20))
    with pytest.raises(GtfsError, match="could not be started"):
        load_network(feed, tmp_path / "cache", Child(python=str(tmp_path / "no-python")))


def test_cache_that_cannot_be_written(feed: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GtfsError, match="cannot be written"):
        gtfs.load_network(feed, tmp_path / "file")


def test_old_networks_are_forgotten(feed: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for i in range(NETWORKS_KEPT + 2):
        old = cache / f"{i:064d}"
        old.mkdir(parents=True)
        (old / "network.json").write_text("{}")
        os.utime(old, (i, i))
    network = gtfs.load_network(feed, cache)
    assert _names(cache) == sorted([f"{i:064d}" for i in range(3, NETWORKS_KEPT + 2)] + [network.digest])


def test_digest_from_outside(tmp_path: Path) -> None:
    with pytest.raises(GtfsError, match="no digest"):
        load_compiled("../../etc", tmp_path)
    with pytest.raises(GtfsError, match="no usable"):
        load_compiled("0" * 64, tmp_path)
