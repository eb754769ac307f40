"""What footprint replaces. It stores one record at a time in both databases, commits offsets by the clock, and logs and drops
what fails. It was written for this measurement, and is kinder than the original: it reads every spelling of a time, and it
gives ClickHouse the column types, which saves a query for each row."""

import argparse
import logging
import time
from datetime import timedelta
from os import environ

from confluent_kafka import Consumer

import databases
from event import EPOCH, parse


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, required=True, help="stop after so many")
    parser.add_argument("--seconds", type=float, required=True, help="stop after so long")
    limits = parser.parse_args()
    end = time.monotonic() + limits.seconds
    logging.basicConfig(level=logging.INFO)

    postgres, clickhouse = databases.postgres(), databases.clickhouse()
    databases.create_tables(postgres, clickhouse)
    consumer = Consumer({
        "bootstrap.servers": environ["BOOTSTRAP_SERVER"],
        "group.id": environ["GROUP_ID"],
        "auto.offset.reset": environ["OFFSET_RESET_CONFIG"],
        # The flaw: an offset may be committed before its row is stored, and it is committed even if storing fails.
        "enable.auto.commit": True,
    })
    consumer.subscribe([environ["TOPIC"]])
    read = failed = 0
    while read < limits.records and time.monotonic() < end:
        message = consumer.poll(0.5)
        if message is None:
            continue
        if message.error():
            logging.error("kafka: %s", message.error())
            continue
        read += 1
        try:
            store(postgres, clickhouse, *parse(message.value()))
        except Exception as error:  # the other flaw: a record that fails is lost, or is in one database only
            failed += 1
            logging.error("dropped: %s", error)
    consumer.close()
    print(f"read {read}, of which failed {failed}")


def store(postgres, clickhouse, request, link, time_us):
    """Two round trips, two commits and a new ClickHouse part for one row."""
    instant = EPOCH + timedelta(microseconds=time_us)
    postgres.execute(
        "insert into user_footprint (request, link, footprint_time) values (%s, %s, %s)", (request, link, instant)
    )
    clickhouse.insert(
        "user_footprint",
        [[request, link, time_us]],
        column_names=databases.COLUMNS,
        column_type_names=databases.COLUMN_TYPES,
    )


if __name__ == "__main__":
    main()
