from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from busd.registry import DeviceRegistry, normal_phone


def test_a_code_opens_until_it_is_given_back() -> None:
    registry = DeviceRegistry()
    device = registry.enrol("013912345678", b"code", 5.0, "甘A1", "T1")
    assert device is not None
    assert (device.phone, device.name, device.first_seen_at) == ("13912345678", "甘A1", 5.0)
    assert registry.check_code("00013912345678", b"code") is device
    assert registry.check_code("13912345678", b"CODE") is None
    assert registry.check_code("13900000000", b"code") is None
    registry.forget_code("13912345678")
    assert registry.check_code("13912345678", b"code") is None
    assert registry.check_code("13912345678", b"") is None


def test_everything_survives_a_restart_and_nothing_secret_is_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "state" / "registry.db"
    registry = DeviceRegistry(path)
    registry.enrol("4FA0B1", b"very-secret-code", 5.0, "甘A1", "T1")
    registry.list_device("13900000000", "bus-7")
    registry.set_token("sign", "s1", "sign-secret")
    registry.close()
    again = DeviceRegistry(path)
    device = again.check_code("4fa0b1", b"very-secret-code")
    assert device is not None
    assert (device.plate, device.terminal_id, device.listed, device.last_seen_at) == ("甘A1", "T1", False, 5.0)
    listed = again.find_device("13900000000")
    assert listed is not None
    assert (listed.vehicle_id, listed.listed, listed.name) == ("bus-7", True, "bus-7")
    assert again.check_token("sign", "s1", "sign-secret")
    again.close()
    content = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"very-secret-code" not in content
    assert b"sign-secret" not in content


def test_five_thousand_registrations_are_one_transaction(tmp_path: Path) -> None:
    registry = DeviceRegistry(tmp_path / "registry.db")
    for n in range(5000):
        registry.enrol(f"1{n:010d}", b"code-%d" % n, 1.0)
    changes = registry.take_changes()
    assert changes is not None
    assert len(changes.devices) == 5000
    assert registry.take_changes() is None
    commits: list[str] = []
    assert registry._store is not None
    database = registry._store._db
    database.set_trace_callback(lambda sql: commits.append(sql) if sql.startswith(("BEGIN", "COMMIT")) else None)
    registry.write_changes(changes)
    assert [sql.split()[0] for sql in commits] == ["BEGIN", "COMMIT"]
    registry.close()
    again = DeviceRegistry(tmp_path / "registry.db")
    assert len(again) == 5000
    again.close()


def test_changes_of_a_failed_write_are_written_later(tmp_path: Path) -> None:
    registry = DeviceRegistry(tmp_path / "registry.db")
    registry.enrol("1391", b"code", 1.0)
    changes = registry.take_changes()
    assert changes is not None
    blocker = sqlite3.connect(tmp_path / "registry.db", timeout=0)
    blocker.execute("BEGIN EXCLUSIVE")
    assert registry._store is not None
    registry._store._db.execute("PRAGMA busy_timeout=0")
    with pytest.raises(sqlite3.OperationalError):
        registry.write_changes(changes)
    registry.give_back(changes)
    blocker.rollback()
    blocker.close()
    registry.close()
    again = DeviceRegistry(tmp_path / "registry.db")
    assert again.check_code("1391", b"code") is not None
    again.close()


def test_a_full_registry_takes_nobody_new() -> None:
    registry = DeviceRegistry(max_devices=2)
    assert registry.enrol("1", b"a", 0.0) is not None
    assert registry.enrol("2", b"b", 0.0) is not None
    assert registry.enrol("3", b"c", 0.0) is None
    assert registry.enrol("1", b"d", 0.0) is not None


def test_import() -> None:
    registry = DeviceRegistry()
    registry.list_device("13900000001", "old")
    report = registry.import_csv(
        "\ufeffPhone, vehicle_id ,plate\n013900000001,bus-1,\n4FA0B1,bus-2,甘A2\n,nobody,\nno phone,x,\n13900000003\n"
    )
    assert (report.added, report.changed) == (2, 1)
    assert [line for line, _ in report.problems] == [4, 5]
    devices = {device.phone: (device.vehicle_id, device.plate) for device in registry.devices()}
    assert devices["13900000001"] == ("bus-1", "")
    assert devices["4fa0b1"] == ("bus-2", "甘A2")
    assert devices["13900000003"] == (None, "")


def test_import_without_the_column() -> None:
    problems = [(1, "there is none of the columns phone, imei, id, plate")]
    assert DeviceRegistry().import_csv("number,vehicle\n1,2\n").problems == problems
    assert DeviceRegistry().import_csv("").problems == problems


def test_buses_are_named_by_plate_imei_and_tracker_id(tmp_path: Path) -> None:
    registry = DeviceRegistry(tmp_path / "registry.db")
    terminal = registry.enrol("1391", b"code", 1.0, "甘A1")
    modern = registry.enrol("1392", b"code", 1.0)
    assert terminal is not None and modern is not None
    report = registry.import_csv(
        "plate,imei,id,vehicle_id\n甘A1,,,1207\n,860000000000001,,1208\n,,phone-7,1209\n,12,,1210\n,,x,\n,,,1211\n"
    )
    assert (report.added, report.changed) == (3, 0)
    assert [line for line, _ in report.problems] == [5, 6, 7]
    assert terminal.name == "1207"
    registry.identify(modern, "860000000000001")
    assert modern.name == "1208"
    registry.close()
    registry = DeviceRegistry(tmp_path / "registry.db")
    assert [registry.find_vehicle(name) for name in ("甘A1", "860000000000001", "phone-7", "1391", "?")] == [
        "1207",
        "1208",
        "1209",
        None,
        None,
    ]
    again = registry.find_device("1391")
    assert again is not None and again.name == "1207"
    assert registry.remove_alias("plate", "甘A1") and not registry.remove_alias("plate", "甘A1")
    assert again.name == "甘A1"
    assert registry.remove_device("01392") and not registry.remove_device("1392")
    registry.close()
    registry = DeviceRegistry(tmp_path / "registry.db")
    assert [device.phone for device in registry.devices()] == ["1391"]
    assert sorted(registry.aliases()) == [("id", "phone-7", "1209"), ("imei", "860000000000001", "1208")]
    registry.close()


def test_a_listed_phone_names_the_bus_of_any_source() -> None:
    registry = DeviceRegistry()
    registry.list_device("13900000001", "bus-1")
    assert registry.find_vehicle("013900000001") == "bus-1"
    with pytest.raises(ValueError, match="no such kind"):
        registry.set_alias("colour", "red", "1")


def test_tokens() -> None:
    registry = DeviceRegistry()
    registry.set_token("sign", "s1", "one")
    assert registry.check_token("sign", "s1", "one")
    assert not registry.check_token("sign", "s2", "one")
    assert not registry.check_token("operator", "s1", "one")
    registry.set_token("sign", "*", "common")
    assert registry.check_token("sign", "s2", "common")
    assert not registry.check_token("sign", "s1", "common"), "a sign with a token of its own needs that one"
    registry.remove_token("sign", "s1")
    assert not registry.check_token("sign", "s1", "one")
    assert not registry.check_token("sign", "s3", "")


@pytest.mark.parametrize(("phone", "wanted"), [("0", "0"), ("000", "0"), (" 0139 ", "139"), ("00AB", "ab")])
def test_one_writing_for_one_phone(phone: str, wanted: str) -> None:
    assert normal_phone(phone) == wanted
