"""A network on disk: one ``.npy`` file an array, memory-mapped; scalars in ``network.json``.

The files are trusted as little as any cache: every array's type and length is looked at, its contents are not.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gtfs.errors import GtfsError
from gtfs.findings import Findings
from gtfs.strings import Strings, Translations

if TYPE_CHECKING:
    from gtfs.network import Network

COMPILER_VERSION = "1"
"""Goes into the digest: raise it with every change of what the arrays of a feed hold."""

_SCALARS: dict[str, type] = {"str": str, "int": int, "float": float}
_ARRAYS: dict[str, type] = {"I8": np.int8, "I32": np.int32, "I64": np.int64, "F64": np.float64, "Bool": np.bool_}


def save_network(network: Network, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    scalars: dict[str, Any] = {}
    for field in fields(network):
        value = getattr(network, field.name)
        if isinstance(value, Translations):
            _save(directory, f"{field.name}.offset", value.offset)
            _save(directory, f"{field.name}.lang", value.lang)
            _save_strings(directory, f"{field.name}.text", value.text)
        elif isinstance(value, Strings):
            _save_strings(directory, field.name, value)
        elif isinstance(value, np.ndarray):
            _save(directory, field.name, value)
        else:
            scalars[field.name] = value
    document = {"compiler": COMPILER_VERSION, "network": scalars}
    (directory / "network.json").write_text(json.dumps(document, ensure_ascii=False, indent=1), encoding="utf-8")


def load_network(directory: Path) -> Network:
    from gtfs.network import Network

    try:
        document = json.loads((directory / "network.json").read_text(encoding="utf-8"))
        if document["compiler"] != COMPILER_VERSION:
            raise GtfsError(f"{directory} was compiled by version {document['compiler']}, this is {COMPILER_VERSION}")
        values: dict[str, Any] = {}
        for field in fields(Network):
            kind = str(field.type)
            if kind == "Translations":
                offset = _load(directory, f"{field.name}.offset", np.int64)
                lang = _load(directory, f"{field.name}.lang", np.int32)
                values[field.name] = Translations(offset, lang, _load_strings(directory, f"{field.name}.text"))
            elif kind == "Strings":
                values[field.name] = _load_strings(directory, field.name)
            elif kind in _ARRAYS:
                values[field.name] = _load(directory, field.name, _ARRAYS[kind])
            else:
                values[field.name] = _SCALARS[kind](document["network"][field.name])
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise GtfsError(f"{directory} holds no usable compiled network: {error}") from error
    return Network(**values)


def _save(directory: Path, name: str, array: npt.NDArray[Any]) -> None:
    np.save(directory / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)


def _save_strings(directory: Path, name: str, strings: Strings) -> None:
    _save(directory, f"{name}.offset", strings.offset)
    _save(directory, f"{name}.blob", strings.blob)


def _load(directory: Path, name: str, kind: type) -> npt.NDArray[Any]:
    mapped = np.load(directory / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    if mapped.dtype != np.dtype(kind):
        raise ValueError(f"{name}.npy holds {mapped.dtype}, not {np.dtype(kind)}")
    # The plain view keeps the map alive and slices several times faster than np.memmap.
    view: npt.NDArray[Any] = np.asarray(mapped).view(np.ndarray)
    return view


def _load_strings(directory: Path, name: str) -> Strings:
    offset = _load(directory, f"{name}.offset", np.int64)
    blob = _load(directory, f"{name}.blob", np.uint8)
    if len(offset) == 0 or offset[-1] != len(blob):
        raise ValueError(f"{name} is cut short")
    return Strings(offset, blob)


def feed_digest(data: bytes) -> str:
    """sha256 of the zip's bytes and the compiler's version: the name of a compiled network."""
    digest = hashlib.sha256(data)
    digest.update(f"\0busd-gtfs-{COMPILER_VERSION}".encode())
    return digest.hexdigest()


def write_compiled(network: Network, findings: Findings, directory: Path) -> None:
    """The network and what was found on the way (``findings.json``)."""
    save_network(network, directory)
    (directory / "findings.json").write_text(findings.to_json(), encoding="utf-8")


def load_findings(directory: Path) -> Findings:
    """Raises `GtfsError` where there are none."""
    try:
        return Findings.from_dict(json.loads((directory / "findings.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GtfsError(f"{directory} holds no findings: {error}") from error
