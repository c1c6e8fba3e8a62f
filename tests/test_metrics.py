from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from busd import metrics

PER_THING = {"vehicle", "vehicle_id", "stop", "stop_id", "sign", "sign_id", "trip", "trip_id", "phone", "address"}


def test_the_page_parses_and_every_name_is_ours_or_the_process() -> None:
    metrics.REJECTED.labels("jt808", "stale").inc()
    families = list(text_string_to_metric_families(metrics.render().decode()))
    assert {"busd_rejected", "busd_journal_lost", "busd_sign_connections"} <= {f.name for f in families}
    assert all(f.name.startswith(("busd_", "process_", "python_")) for f in families)
    assert all(f.documentation for f in families)


def test_no_label_grows_with_the_fleet() -> None:
    assert isinstance(metrics.REGISTRY, CollectorRegistry)
    for metric in vars(metrics).values():
        assert not PER_THING & set(getattr(metric, "_labelnames", ()))
