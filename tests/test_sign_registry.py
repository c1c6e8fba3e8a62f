from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busd.shelf import Store
from busd.sign_registry import BadEntry, SignRegistry, digest, new_token, split

STOPS = {"S1", "S2", "a, b"}


def knows(stop: str) -> bool:
    return stop in STOPS


def nobody(sign: str, token: str) -> bool:
    return False


TABLE = """\ufeffSign,name,stops,groups,place
LS-1,西关,S1; S2,west;brt,Pole 4
LS-2,,S9,west,
LS-3,x,S1,no group!,
,x,S1,,
LS-4,"East, gate","a, b",east,
LS-5,bad\x1bname,S1,,
"""


def test_a_bad_line_does_not_cost_the_others() -> None:
    registry = SignRegistry(Store())
    report = registry.import_csv(TABLE, 5.0, knows)
    assert (report.added, report.changed, report.same) == (2, 0, 0)
    assert [line for line, _ in report.problems] == [3, 4, 5, 7]
    assert "S9" in report.problems[0][1]
    first = registry.find("LS-1")
    assert first is not None
    assert (first.name, first.stops, first.groups, first.added_at) == ("西关", ("S1", "S2"), ("west", "brt"), 5.0)
    east = registry.find("LS-4")
    assert east is not None and east.stops == ("a, b",)
    assert registry.groups() == {"brt": 1, "east": 1, "west": 1}


def test_a_second_import_changes_only_its_columns() -> None:
    registry = SignRegistry(Store())
    registry.import_csv("sign,name,stops,token\nLS-1,old,S1,secret-1\n", 1.0, knows)
    report = registry.import_csv("sign,name\nLS-1,new\nLS-1,new\n", 2.0, knows)
    assert (report.added, report.changed, report.same) == (0, 1, 1)
    record = registry.find("LS-1")
    assert record is not None
    assert (record.name, record.stops, record.token) == ("new", ("S1",), digest("secret-1"))


@pytest.mark.parametrize("text", ["name\nx\n", "sign,colour\nLS-1,red\n", ""])
def test_a_table_with_other_columns_is_refused_whole(text: str) -> None:
    registry = SignRegistry(Store())
    report = registry.import_csv(text, 1.0, knows)
    assert len(registry.signs) == 0
    assert "sign, name, stops, groups, place, token" in report.problems[0][1]


@given(st.text(max_size=300))
def test_any_text_is_a_table_with_problems_or_without(text: str) -> None:
    SignRegistry(Store()).import_csv(text, 1.0, knows)


@given(st.lists(st.text(min_size=1).filter(lambda s: ";" not in s and s.strip() == s), unique=True))
def test_names_in_a_cell_come_back(names: list[str]) -> None:
    assert split(";".join(names)) == tuple(names)


# ---- tokens ----------------------------------------------------------------------------------------------------------


def registry_with(sign: str = "LS-1") -> SignRegistry:
    registry = SignRegistry(Store())
    registry.enter({"sign": sign}, 1.0, knows)
    return registry


def test_a_sign_with_a_token_of_its_own_uses_no_other() -> None:
    registry = registry_with()
    may: Callable[[str, str], bool] = registry.authenticator(lambda sign, token: token == "common")
    assert may("LS-1", "common") and may("stranger", "common")
    first = registry.give_token("LS-1")
    assert may("LS-1", first)
    assert not may("LS-1", "common")
    second = registry.give_token("LS-1")
    assert not may("LS-1", first) and may("LS-1", second)
    assert not may("LS-2", second), "a token is of one sign"
    assert not may("LS-1", "") and not may("", "")


def test_an_empty_token_never_opens() -> None:
    registry = registry_with()
    assert not registry.authenticator(nobody)("LS-1", "")
    assert registry.find_operator("") is None


def test_a_token_for_an_unknown_sign_says_what_to_do() -> None:
    with pytest.raises(BadEntry, match="busd signs add LS-9"):
        registry_with().give_token("LS-9")


def test_tokens_are_long_and_nothing_secret_is_on_the_disk(tmp_path: Path) -> None:
    assert len({new_token() for _ in range(100)}) == 100
    assert len(new_token()) == 35
    store = Store(tmp_path / "s.sqlite")
    registry = SignRegistry(store)
    registry.enter({"sign": "LS-1"}, 1.0, knows)
    secrets = [registry.give_token("LS-1"), registry.add_operator("anna", "dispatcher", 1.0)]
    store.close()
    content = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert not any(secret.encode() in content for secret in secrets)
    again = SignRegistry(Store(tmp_path / "s.sqlite"))
    assert again.authenticator(nobody)("LS-1", secrets[0])
    operator = again.find_operator(secrets[1])
    assert operator is not None and (operator.name, operator.role) == ("anna", "dispatcher")


def test_an_operator_has_one_token_at_a_time() -> None:
    registry = SignRegistry(Store())
    old = registry.add_operator("anna", "viewer", 1.0)
    new = registry.add_operator("anna", "ADMIN", 2.0)
    assert registry.find_operator(old) is None
    found = registry.find_operator(new)
    assert found is not None and found.role == "admin"
    with pytest.raises(BadEntry, match="viewer, dispatcher or admin"):
        registry.add_operator("anna", "king", 3.0)
