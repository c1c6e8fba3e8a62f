"""The order of the tests, and which of them stay together when several processes share them (``make test``)."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests share what is costly, so they stay in one process. Browser tests go last, in one process too: the
    synchronous Playwright keeps a loop running in its thread until the session ends, in which no other test could run
    its own."""
    for item in items:
        file = item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group("browser" if _browses(item) else file))
    items.sort(key=_browses)


def _browses(item: pytest.Item) -> bool:
    return "browser" in getattr(item, "fixturenames", ())
