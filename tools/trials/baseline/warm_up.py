"""Lets another group read one record: a broker just started makes its offsets topic when the first group joins, which takes
seconds and would be counted against whoever is measured."""

import sys
import time
from os import environ

from confluent_kafka import Consumer

consumer = Consumer({
    "bootstrap.servers": environ["BOOTSTRAP_SERVER"],
    "group.id": "warm-up",
    "auto.offset.reset": "earliest",
})
consumer.subscribe([environ["TOPIC"]])
end = time.monotonic() + 30
record = None
while record is None and time.monotonic() < end:
    record = consumer.poll(0.5)
consumer.close()
sys.exit(0 if record and not record.error() else "no record came")
