"""Parameters from files and from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from busd.config.overrides import differences, load_parameters, switches
from busd.errors import ConfigError
from busd.parameters import Parameters


def test_key_value_and_file(tmp_path: Path) -> None:
    file = tmp_path / "try.toml"
    file.write_text("[engine.matching]\nmax_offset_m = 80\n\n[engine.boards]\nttl_s = 60.0\n")
    got = load_parameters([str(file), "matching.sigma_m=12.5", "ttl_s=45"])
    assert (got.matching.max_offset_m, got.matching.sigma_m, got.boards.ttl_s) == (80.0, 12.5, 45.0)
    assert differences(got) == {"matching.max_offset_m": 80.0, "matching.sigma_m": 12.5, "boards.ttl_s": 45.0}
    assert load_parameters([]) == Parameters()


def test_sections_at_the_top_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("[visits]\narrive_zone_m = 30\n")
    assert load_parameters([str(tmp_path / "p.toml")]).visits.arrive_zone_m == 30.0


def test_parts_are_switched_with_words() -> None:
    for key in switches():
        section, name = key.split(".")
        assert getattr(getattr(load_parameters([f"{key}=off"]), section), name) is False
        assert getattr(getattr(load_parameters([f"{key}=off", f"{name}=on"]), section), name) is True


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("matching.nothing=1", "no parameter matching.nothing"),
        ("nowhere=1", "no parameter nowhere"),
        ("horizon_s=1", "boards.*write e.g."),
        ("matching.sigma_m=wide", "matching.sigma_m"),
        ("no-such-file.toml", "a file or key=value"),
    ],
)
def test_what_is_wrong_is_said(item: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_parameters([item])


def test_a_bad_file_is_said(tmp_path: Path) -> None:
    for text, words in (("[nowhere]\nx=1", "section nowhere"), ("[matching]\ny=1", "matching.y"), ("=", "p.toml")):
        (tmp_path / "p.toml").write_text(text)
        with pytest.raises(ConfigError, match=words):
            load_parameters([str(tmp_path / "p.toml")])
