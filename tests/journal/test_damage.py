"""What dies, tears, rots or fills up: the whole records survive, the rest is said, never invented."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busd.clock import ManualClock
from busd.errors import JournalError
from busd.journal import Journal, ReadReport, maintain, read, seal, segments
from busd.types import AnyInput, Tick

Inputs = Callable[..., list[AnyInput]]
SMALL = [Tick(at=float(i)) for i in range(12)]


def write_small(directory: Path) -> Path:
    """One segment of 12 ticks in records of 3."""
    journal = Journal(directory)
    for start in range(0, 12, 3):
        journal.append_many(SMALL[start : start + 3])
    journal.close()
    return segments(directory)[0].path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """The bytes of a segment as rows and as columns."""
    rows = write_small(tmp_path_factory.mktemp("whole"))
    data = rows.read_bytes()
    return data, seal(rows).read_bytes()


def test_cut_off_at_every_byte(tmp_path: Path, whole: tuple[bytes, bytes]) -> None:
    path = tmp_path / f"{1:020d}.rows"
    ends = set()
    for length in range(len(whole[0]) + 1):
        for old in tmp_path.iterdir():
            old.unlink()
        path.write_bytes(whole[0][:length])
        got = list(read(tmp_path))
        assert got == list(enumerate(SMALL, 1))[: len(got)]
        ends.add(len(got))
        journal = Journal(tmp_path)
        assert journal.repair.last_seq == journal.seq == len(got)
        if got:
            assert path.stat().st_size == length - journal.repair.cut_bytes
            assert bool(journal.repair.cut_bytes) == bool(journal.repair.damages)
        journal.append(Tick(at=99.0))
        journal.close()
        report = ReadReport()
        assert list(read(tmp_path, 0, report)) == [*got, (len(got) + 1, Tick(at=99.0))]
        assert (report.damages, report.missing) == ([], 0)
    assert ends == {0, 3, 6, 9, 12}


@pytest.mark.parametrize("form", ["rows", "columns"])
def test_a_wrong_byte_anywhere_never_makes_a_wrong_input(tmp_path: Path, whole: tuple[bytes, bytes], form: str) -> None:
    path = tmp_path / f"{1:020d}.{form}"
    data = whole[form == "columns"]
    truth = dict(enumerate(SMALL, 1))
    for offset in range(len(data)):
        path.write_bytes(data[:offset] + bytes([data[offset] ^ 0x5A]) + data[offset + 1 :])
        got = list(read(tmp_path))
        assert all(truth[seq] == entry for seq, entry in got)
        assert [seq for seq, _ in got] == sorted({seq for seq, _ in got})
        if form == "rows":
            assert len(got) >= 9  # one record at most is lost


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_damage_leaves_a_journal_that_goes_on(
    tmp_path_factory: pytest.TempPathFactory, whole: tuple[bytes, bytes], data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("damage")
    image = bytearray(whole[0])
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(image)))
        stop = data.draw(st.integers(start, min(len(image), start + 40)))
        image[start:stop] = data.draw(st.binary(max_size=60))
    (directory / f"{1:020d}.rows").write_bytes(image)
    truth = dict(enumerate(SMALL, 1))
    before = list(read(directory))
    assert all(truth[seq] == entry for seq, entry in before)
    journal = Journal(directory)
    journal.append(Tick(at=99.0))
    new = journal.seq
    journal.append_many(SMALL)
    journal.close()
    truth |= dict(enumerate([Tick(at=99.0), *SMALL], new))
    assert new == max([0, *(seq for seq, _ in before)]) + 1
    maintain(directory, 1 << 40, 1e6)
    after = list(read(directory))
    assert after == [*before, *((seq, truth[seq]) for seq in range(new, new + 13))]


def test_a_hole_in_the_middle_is_said_and_the_rest_read(tmp_path: Path, traffic: Inputs) -> None:
    entries = traffic(2000)
    journal = Journal(tmp_path, segment_bytes=65536)
    for start in range(0, len(entries), 10):
        journal.append_many(entries[start : start + 10])
    journal.close()
    victim = segments(tmp_path)[1].path
    data = bytearray(victim.read_bytes())
    data[30_000:30_100] = bytes(100)
    victim.write_bytes(data)
    report = ReadReport()
    got = list(read(tmp_path, 0, report))
    assert all(entries[seq - 1] == entry for seq, entry in got)
    assert len(got) + report.missing == len(entries)
    assert report.missing in (10, 20)
    assert [(d.path, d.kind) for d in report.damages] == [(str(victim), "middle")]
    assert got[-1][0] == len(entries)
    maintain(tmp_path, 1 << 40, 1e6)  # sealing keeps what it could not read
    assert victim.with_suffix(".damaged").exists()
    assert list(read(tmp_path)) == got


WRITER = """
import sys
from pathlib import Path
import structlog
from busd.journal import Journal, maintain
from busd.types import Tick
# A torn end is warned of in the log, which must not mix with the numbers on stdout.
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
journal = Journal(Path(sys.argv[1]), segment_bytes=65536)
print("from", journal.seq, flush=True)
while True:
    first = journal.seq + 1
    journal.append_many([Tick(at=float(first + i)) for i in range(first % 13 + 1)])
    sys.stdout.write(f"{journal.seq}\\n")
    sys.stdout.flush()
    if first % 400 < 7:
        journal.sync()
        maintain(Path(sys.argv[1]), 1 << 40, 1e6)
"""


@pytest.mark.parametrize("seed", range(3))
def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    acknowledged = 0
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            assert int(writer.stdout.readline().split()[1]) >= acknowledged
            for _ in range(dice.randrange(1, 3000)):
                acknowledged = int(writer.stdout.readline())
            writer.kill()
            complete = [line for line in writer.stdout.read().split("\n")[:-1] if line]
            acknowledged = int(complete[-1]) if complete else acknowledged
        report = ReadReport()
        got = list(read(tmp_path, 0, report))
        assert got == [(seq, Tick(at=float(seq))) for seq in range(1, len(got) + 1)]
        assert len(got) >= acknowledged
        assert report.missing == 0


FULL_DISK = """
import resource, sys
from pathlib import Path
from busd.errors import JournalError
from busd.journal import Journal, ReadReport, read
from busd.types import Tick
directory = Path(sys.argv[1])
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
journal = Journal(directory)
written, lost = [], []
def add(n):
    for _ in range(n):
        batch = [Tick(at=float(journal.seq + i + 1)) for i in range(3)]
        numbers = range(journal.seq + 1, journal.seq + 4)
        try:
            journal.append_many(batch)
            written.extend(numbers)
        except JournalError:
            lost.extend(numbers)
for _ in range(3):
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal._end + 777, hard))
    add(30)
    assert lost and journal.missing
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    add(5)
    assert not journal.missing
resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
journal.rotate()
add(2)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
journal.flush()
journal.close()
report = ReadReport()
got = list(read(directory, 0, report))
assert got == [(seq, Tick(at=float(seq))) for seq in written], (len(got), len(written))
assert report.gaps == len(lost) and report.damages == [], report
print("ok", len(written), len(lost))
"""


def test_a_full_disk_costs_what_did_not_fit_and_nothing_else(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "j")], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("ok")


def test_a_state_directory_that_comes_back(tmp_path: Path) -> None:
    place = tmp_path / "state"
    place.write_bytes(b"a file where the directory should be")
    clock = ManualClock()
    journal = Journal(place, clock=clock)
    for i in range(5):
        with pytest.raises(JournalError):
            journal.append(Tick(at=float(i)))
    journal.sync()
    place.unlink()
    journal.append(Tick(at=6.0))
    report = ReadReport()
    assert list(read(place, 0, report)) == [(6, Tick(at=6.0))]
    assert report.gaps == 5
    journal.close()
