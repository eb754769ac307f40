"""Parses a payload into (request, link, UTC microseconds), or raises ValueError. Both consumers read events in the same way, and
nearly as footprint does: the comparison is about speed and safety, not about who understands fewer times. This code accepts
two things that footprint refuses: a field that occurs twice, and a time whose fraction has no digits."""

from datetime import datetime, timezone

import orjson

DAY_US = 86_400_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# What both databases can hold: 1900 until 2300.
TIME_MIN_US = (datetime(1900, 1, 1, tzinfo=timezone.utc) - EPOCH).days * DAY_US
TIME_END_US = (datetime(2300, 1, 1, tzinfo=timezone.utc) - EPOCH).days * DAY_US


def parse(payload):
    event = orjson.loads(payload or b"")
    if type(event) is not dict:
        raise ValueError("not an object")
    request, link, time = event.get("method"), event.get("link"), event.get("footprint_time")
    if type(request) is not str or type(link) is not str:
        raise ValueError("method or link is missing or no text")
    if "\0" in request or "\0" in link:
        raise ValueError("PostgreSQL holds no NUL in text")
    return request, link, microseconds(time)


def microseconds(time):
    if type(time) is str:
        # upper(): Python knows T and Z, not t and z.
        instant = datetime.fromisoformat(time.upper())
        if instant.tzinfo is None:
            instant = instant.replace(tzinfo=timezone.utc)
        # In integers: a float of seconds would round the last digit.
        since = instant - EPOCH
        time = since.days * DAY_US + since.seconds * 1_000_000 + since.microseconds
    elif type(time) is not int:
        raise ValueError("footprint_time is missing or no time")
    elif abs(time) < 100_000_000_000:
        time *= 1_000_000
    elif abs(time) < 100_000_000_000_000:
        time *= 1_000
    if not TIME_MIN_US <= time < TIME_END_US:
        raise ValueError("footprint_time is out of range")
    return time
