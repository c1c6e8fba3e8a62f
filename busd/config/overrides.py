"""Parameters of the engine from a file or from ``key=value``, for replays that try something else."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from busd.errors import ConfigError
from busd.parameters import Parameters

_WORDS = {"on": True, "off": False, "true": True, "false": False, "yes": True, "no": False}


def load_parameters(items: Sequence[str], base: Parameters | None = None) -> Parameters:
    """``base`` (the defaults) changed by each item in turn; `ConfigError` says which item is wrong and why.

    An item is a TOML file whose sections are those of `Parameters` (at its top or under ``[engine]``, as in busd's
    configuration), or ``section.key=value``; the section may be left out where only one has such a key. A part is
    switched with ``on`` and ``off``."""
    values: dict[str, Any] = msgspec.to_builtins(base or Parameters())
    for item in items:
        key, equals, text = item.partition("=")
        if equals and not Path(item).exists():
            section, name = _find(values, key.strip())
            values[section][name] = _value(text.strip())
        else:
            _merge(values, _read(Path(item)), item)
        try:
            msgspec.convert(values, Parameters, strict=False)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{item}: {error}") from None
    return msgspec.convert(values, Parameters, strict=False)


def switches(parameters: Parameters | None = None) -> list[str]:
    """``section.key`` of every part that is on and can be switched off."""
    return [key for key, value in _flat(parameters or Parameters()) if value is True]


def differences(parameters: Parameters) -> dict[str, Any]:
    """``section.key`` -> value, of those that are not the default."""
    default = dict(_flat(Parameters()))
    return {key: value for key, value in _flat(parameters) if value != default[key]}


def _flat(parameters: Parameters) -> Iterator[tuple[str, Any]]:
    sections: dict[str, dict[str, Any]] = msgspec.to_builtins(parameters)
    for section, keys in sections.items():
        for key, value in keys.items():
            yield f"{section}.{key}", value


def _find(values: dict[str, Any], key: str) -> tuple[str, str]:
    section, dot, name = key.partition(".")
    if dot:
        if name in values.get(section, {}):
            return section, name
        raise ConfigError(f"there is no parameter {key}")
    found = [where for where, keys in values.items() if key in keys]
    if len(found) == 1:
        return found[0], key
    if found:
        raise ConfigError(f"{key} is a parameter of {' and '.join(found)}; write e.g. {found[0]}.{key}=...")
    raise ConfigError(f"there is no parameter {key}")


def _value(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text


def _read(path: Path) -> dict[str, Any]:
    try:
        read = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}; a file or key=value is expected") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    engine = read.get("engine")
    return engine if isinstance(engine, dict) else read


def _merge(values: dict[str, Any], read: dict[str, Any], item: str) -> None:
    for section, keys in read.items():
        if section not in values or not isinstance(keys, dict):
            raise ConfigError(f"{item}: there is no section {section} of parameters")
        for key, value in keys.items():
            if key not in values[section]:
                raise ConfigError(f"{item}: there is no parameter {section}.{key}")
            values[section][key] = value
