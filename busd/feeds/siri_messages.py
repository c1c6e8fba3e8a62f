"""SIRI 2.0 messages that we send: requests, subscriptions, their end, and acknowledgements (CEN/TS 15531-2). Bytes of
UTF-8 XML; every value is escaped. Times are epoch seconds."""

from __future__ import annotations

from xml.sax.saxutils import escape

from busd.feeds.siri import format_time

NAMESPACE = "http://www.siri.org.uk/siri"


def service_request(now: float, requestor: str, message_id: str) -> bytes:
    """Asks for all vehicles once."""
    return _siri(
        _tag(
            "ServiceRequest",
            _text("RequestTimestamp", format_time(now)),
            _text("RequestorRef", requestor),
            _text("MessageIdentifier", message_id),
            _vehicle_request(now, message_id),
        )
    )


def subscription_request(
    now: float,
    requestor: str,
    subscription: str,
    *,
    consumer_address: str,
    heartbeat_s: float,
    update_s: float,
    until: float,
) -> bytes:
    """Asks for changes of all vehicles until ``until``, to be posted to ``consumer_address`` every ``update_s``, and
    for a heartbeat every ``heartbeat_s``."""
    return _siri(
        _tag(
            "SubscriptionRequest",
            _text("RequestTimestamp", format_time(now)),
            _text("RequestorRef", requestor),
            _text("MessageIdentifier", subscription),
            _text("ConsumerAddress", consumer_address),
            _tag("SubscriptionContext", _text("HeartbeatInterval", duration(heartbeat_s))),
            _tag(
                "VehicleMonitoringSubscriptionRequest",
                _text("SubscriberRef", requestor),
                _text("SubscriptionIdentifier", subscription),
                _text("InitialTerminationTime", format_time(until)),
                _vehicle_request(now, subscription),
                _text("IncrementalUpdates", "true"),
                _text("UpdateInterval", duration(update_s)),
            ),
        )
    )


def termination_request(now: float, requestor: str, subscription: str, message_id: str) -> bytes:
    """Ends one subscription."""
    return _siri(
        _tag(
            "TerminateSubscriptionRequest",
            _text("RequestTimestamp", format_time(now)),
            _text("RequestorRef", requestor),
            _text("MessageIdentifier", message_id),
            _text("SubscriberRef", requestor),
            _text("SubscriptionRef", subscription),
        )
    )


def acknowledgement(now: float, requestor: str, unknown_subscription: str | None = None) -> bytes:
    """Answers a delivery: taken, or refused because we do not know its subscription (any more)."""
    parts = [_text("ResponseTimestamp", format_time(now)), _text("ConsumerRef", requestor)]
    if unknown_subscription is None:
        parts.append(_text("Status", "true"))
    else:
        parts.append(_text("Status", "false"))
        error = _tag("UnknownSubscriptionError", _text("ErrorText", f"no subscription {unknown_subscription!r} here"))
        parts.append(_tag("ErrorCondition", error))
    return _siri(_tag("DataReceivedAcknowledgement", *parts))


def duration(seconds: float) -> str:
    """xsd:duration in whole seconds, at least one."""
    return f"PT{max(round(seconds), 1)}S"


def _vehicle_request(now: float, message_id: str) -> str:
    return _tag(
        "VehicleMonitoringRequest",
        _text("RequestTimestamp", format_time(now)),
        _text("MessageIdentifier", message_id),
        attributes=' version="2.0"',
    )


def _siri(content: str) -> bytes:
    head = f'<?xml version="1.0" encoding="UTF-8"?>\n<Siri xmlns="{NAMESPACE}" version="2.0">'
    return f"{head}{content}</Siri>\n".encode()


def _tag(name: str, *children: str, attributes: str = "") -> str:
    return f"<{name}{attributes}>{''.join(children)}</{name}>"


def _text(name: str, text: str) -> str:
    return f"<{name}>{escape(text)}</{name}>"
