"""The reference of all keys, made from the structs: it cannot say anything else than the code does."""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Meta

from busd.config.schema import Config, FeedConfig, default_of, is_struct, struct_of_list


def describe_config() -> str:
    """Every key with its default and its sentence, as a TOML file with all optional keys commented out."""
    lines = _comment(Config.__doc__ or "")
    for field in msgspec.structs.fields(Config):
        item = struct_of_list(field.type)
        if item is not None:
            lines += ["", *_comment(item.__doc__), f"# [[{field.name}]]", *_keys(item)]
        else:
            lines += _section(field.name, field.type)
    return "\n".join(lines) + "\n"


def _section(name: str, section: type[msgspec.Struct]) -> Iterator[str]:
    children = [field for field in msgspec.structs.fields(section) if is_struct(field.type)]
    if not children:
        yield from ("", *_comment(section.__doc__ or ""), f"[{name}]", *_keys(section))
    for child in children:
        yield from _section(f"{name}.{child.name}", child.type)


def _keys(section: type[msgspec.Struct]) -> Iterator[str]:
    sentences = _attribute_docs(section)
    for field in msgspec.structs.fields(section):
        yield from _comment(_sentence(field.type) or sentences.get(field.name, ""))
        if field.required:
            yield f'{"# " if section is FeedConfig else ""}{field.name} = "..."'
        else:
            yield f"# {field.name} = {_toml(default_of(field))}"


def _attribute_docs(section: type[msgspec.Struct]) -> dict[str, str]:
    """The string literals below fields, the way busd/parameters.py documents its numbers."""
    (cls,) = ast.parse(textwrap.dedent(inspect.getsource(section))).body
    docs: dict[str, str] = {}
    body = cls.body if isinstance(cls, ast.ClassDef) else []
    for field, below in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            docs[field.target.id] = str(ast.literal_eval(below.value))
    return docs


def _sentence(annotation: Any) -> str:
    metas: list[Meta] = [m for m in getattr(annotation, "__metadata__", ()) if isinstance(m, Meta)]
    return " ".join(m.description for m in metas if m.description)


def _comment(text: str) -> list[str]:
    return [f"# {line.strip()}" for line in text.strip().splitlines()]


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{}"
    if isinstance(value, str | Path):
        return f'"{value}"'
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value)
