"""Lets another group read one record. A broker that has just started makes its offsets topic when the first group joins. This
takes seconds, which would count against the program that is measured."""

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
