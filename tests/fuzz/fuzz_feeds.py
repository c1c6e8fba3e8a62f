"""Throws mutated bytes at a codec for a while, guided by the branches they reach. Not run by pytest.

    python -m pip install atheris
    python tests/fuzz/fuzz_feeds.py siri                       # 60 s
    python tests/fuzz/fuzz_feeds.py jt808 --seconds 600 --corpus /var/tmp/jt808

CODEC is one of jt808, nmea, siri, hfp. It starts from the codec's vectors in tests/vectors (and from what an earlier
run left in ``--corpus``). What is checked for every input: nothing is raised but what the codec says, what comes out can
be kept in the journal, places are finite, buffers stay bounded, and for streams that another cut of the same bytes gives
the same events. A failing input is printed and kept as ``crash-...`` in the working directory; give its path after ``--``
to run that input alone. Exit status 0 = nothing found, 2 = atheris is not there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from math import isfinite
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parents[1] / "vectors"
NOW = 1_763_800_000.0
PHONE = "13912345678"
SENTENCES = (
    b"$GPRMC,225446,A,4916.45,N,12311.12,W,000.5,054.7,191194,020.3,E*68\r\n",
    b"1207,$GNRMC,143512,A,3723.5478,S,14515.8765,E,033.6,275.4,080923,010.2,W*65\r\n",
    b"$ID,7\n$BDGGA,091830,2233.1274,N,11404.6581,E,1,10,0.9,50.1,M,0.0,M,,*56\r\n",
)
TOPIC = "/hfp/v2/journey/ongoing/vp/bus/0012/00801/1057/1/Headsign/10:20/1453601/3/60;24/29/11/97"
MAX_PENDING = 65_536


def check(found: Iterable[object]) -> None:
    """What goes on from here can be kept, and is a place."""
    import msgspec

    from busd.types import VehiclePosition

    for item in found:
        msgspec.json.encode(item)
        if isinstance(item, VehiclePosition):
            assert isfinite(item.lat) and isfinite(item.lon) and isfinite(item.measured_at), item


def fuzz_hfp() -> Callable[[bytes], None]:
    from busd.feeds.hfp import Ignored, decode

    def one(data: bytes) -> None:
        topic, _, payload = data.partition(b"\n")
        datum = ("wgs84", "gcj02", "bd09")[len(data) % 3]
        for name in (topic.decode("utf-8", "replace"), TOPIC):
            got = decode(name, payload, source="fuzz", received_at=NOW, datum=datum)
            check([] if isinstance(got, Ignored) else [got])

    return one


def fuzz_siri() -> Callable[[bytes], None]:
    from busd.errors import FeedError
    from busd.feeds.siri import decode

    def one(data: bytes) -> None:
        zone = ("", "Europe/Oslo")[len(data) % 2]
        with contextlib.suppress(FeedError):
            got = decode(data, source="fuzz", received_at=NOW, timezone=zone, datum="bd09")
            check([*got.positions, *got.rejects])

    return one


def fuzz_nmea() -> Callable[[bytes], None]:
    from busd.feeds.nmea import MAX_LINE, Session

    def run(*pieces: bytes) -> list[object]:
        session = Session("fuzz", device_id="7", datum="gcj02")
        found: list[object] = []
        for piece in pieces:
            session.receive_data(piece, NOW)
            found += session.events()
        return found

    def one(data: bytes) -> None:
        whole = run(data)
        check(whole)
        assert len(whole) <= len(data)
        at = data[0] % len(data) if data else 0
        assert run(data[:at], data[at:]) == whole
        if len(data) <= MAX_LINE:
            assert run(*(data[k : k + 1] for k in range(len(data)))) == whole

    return one


def fuzz_jt808() -> Callable[[bytes], None]:
    from busd.config import Jt808Config
    from busd.feeds.jt808.describe import describe_frame
    from busd.feeds.jt808.events import PositionReported
    from busd.feeds.jt808.frame import FrameReader, encode_frame, phone_bytes
    from busd.feeds.jt808.message import MessageId, decode_registration_answer
    from busd.feeds.jt808.session import Session
    from busd.feeds.jt808.terminal import encode_auth, encode_registration
    from busd.registry import DeviceRegistry

    registry = DeviceRegistry()
    raw = phone_bytes(PHONE, 2013)

    def logged_in() -> Session:
        session = Session(Jt808Config(port=0, host="127.0.0.1"), registry, lambda: b"code")
        session.receive_data(encode_frame(MessageId.REGISTER, raw, 1, encode_registration("A1", 2013, "T1"), 2013), NOW)
        (answer,) = FrameReader().receive_data(session.data_to_send())
        granted = decode_registration_answer(answer.body)  # type: ignore[union-attr]
        code = (granted[2] if granted else b"") or b"code"
        session.receive_data(encode_frame(MessageId.AUTHENTICATE, raw, 2, encode_auth(code, 2013), 2013), NOW)
        session.events()
        session.data_to_send()
        return session

    def one(data: bytes) -> None:
        describe_frame(data)
        reader, cut = FrameReader(), FrameReader()
        whole = reader.receive_data(data)
        at = data[0] % len(data) if data else 0
        assert repr([*cut.receive_data(data[:at]), *cut.receive_data(data[at:])]) == repr(whole)
        assert reader.pending_bytes <= MAX_PENDING
        session = logged_in()
        # the bytes as they are, and as the body of a message with a good checksum
        session.receive_data(data, NOW)
        if len(data) >= 2:
            with contextlib.suppress(ValueError):  # a body that no frame can hold
                body = encode_frame(int.from_bytes(data[:2]), raw, 3, data[2:1000], 2013)
                session.receive_data(body, NOW)
        check(event.position for event in session.events() if isinstance(event, PositionReported))
        session.data_to_send()

    return one


CODECS = {"jt808": fuzz_jt808, "nmea": fuzz_nmea, "siri": fuzz_siri, "hfp": fuzz_hfp}


def seeds(codec: str) -> Iterable[bytes]:
    if codec == "nmea":
        yield from SENTENCES
        return
    for line in (VECTORS / f"{codec}.jsonl").read_text(encoding="utf-8").splitlines():
        vector: dict[str, Any] = json.loads(line)
        if codec == "siri":
            yield vector["xml"].encode()
        elif codec == "hfp":
            yield f"{vector['topic']}\n{vector['payload']}".encode()
        else:
            wire = bytes.fromhex(vector["wire"])
            yield wire
            yield wire[1:3] + wire[13:-2]  # message id and body behind a header of 2013


def words(codec: str) -> Iterable[str]:
    """A dictionary for the mutator, in libFuzzer's form."""
    if codec == "siri":
        import re

        text = (VECTORS / "siri.jsonl").read_text(encoding="utf-8")
        for name in sorted(set(re.findall(r"</?[A-Za-z]+>", text))):
            yield f'"{name}"'
    elif codec == "hfp":
        for name in ("lat", "long", "tst", "tsi", "oday", "start", "route", "dir", "drst", "odo", "spd", "hdg", "occu"):
            yield f'"\\"{name}\\":"'


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("codec", choices=sorted(CODECS))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=Path, help="folder of inputs to start from and to add to")
    parser.add_argument("more", nargs="*", help="options and inputs for libFuzzer, after --")
    wanted = parser.parse_args()
    try:
        import atheris
    except ImportError:
        print("atheris is not installed: python -m pip install atheris", file=sys.stderr)
        sys.exit(2)
    with atheris.instrument_imports(include=["busd"]):
        one = CODECS[wanted.codec]()
    with tempfile.TemporaryDirectory() as folder:
        corpus = wanted.corpus or Path(folder, "corpus")
        corpus.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds(wanted.codec)):
            Path(corpus, f"seed-{number:04}").write_bytes(seed)
        limits = [f"-max_total_time={wanted.seconds}", "-timeout=10", "-max_len=8192", "-print_final_stats=1"]
        if dictionary := list(words(wanted.codec)):
            Path(folder, "words").write_text("\n".join(dictionary) + "\n", encoding="utf-8")
            limits.append(f"-dict={folder}/words")
        given = [text for text in wanted.more if not text.startswith("-")] or [str(corpus)]
        options = [text for text in wanted.more if text.startswith("-")]
        atheris.Setup([sys.argv[0], *limits, *options, *given], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
