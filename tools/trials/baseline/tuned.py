"""The best that one Python process easily does: batches of 50,000, binary COPY and Native blocks. It writes to both databases side
by side while it reads the next batch, and commits offsets after both. It stores at least once: a crash doubles up to one batch,
in one database or both. A record that parse accepts and a database refuses stops it for good."""

import argparse
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from os import environ

from confluent_kafka import Consumer, KafkaException, TopicPartition

import databases
from event import parse

BATCH_RECORDS_MAX = 50_000
BATCH_WAIT_S = 0.5

COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TAIL = struct.pack("!h", -1)
# A row: the count of columns, then each column's length and bytes.
pack_count_and_length = struct.Struct("!hi").pack
pack_length = struct.Struct("!i").pack
pack_time = struct.Struct("!iq").pack
# PostgreSQL counts from 2000-01-01.
POSTGRES_EPOCH_US = 946_684_800_000_000


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, required=True, help="stop after so many")
    parser.add_argument("--seconds", type=float, required=True, help="stop after so long")
    limits = parser.parse_args()
    end = time.monotonic() + limits.seconds

    postgres, clickhouse = databases.postgres(), databases.clickhouse()
    databases.create_tables(postgres, clickhouse)
    consumer = Consumer({
        "bootstrap.servers": environ["BOOTSTRAP_SERVER"],
        "group.id": environ["GROUP_ID"],
        "auto.offset.reset": environ["OFFSET_RESET_CONFIG"],
        "enable.auto.commit": False,
        # By default librdkafka pauses for a second whenever 100,000 records of a partition wait. Its limit in bytes is enough.
        "queued.min.messages": 1_000_000,
        "fetch.queue.backoff.ms": 20,
    })
    consumer.subscribe([environ["TOPIC"]])
    read = failed = 0
    writes, offsets = [], []
    # One thread a database: they wait for servers most of the time, and Python can decode meanwhile.
    with ThreadPoolExecutor(max_workers=2) as pool:
        while read < limits.records and time.monotonic() < end:
            messages = consumer.consume(min(BATCH_RECORDS_MAX, limits.records - read), BATCH_WAIT_S)
            columns, offsets_of_batch, failed_of_batch = decode(messages)
            read += len(messages)
            failed += failed_of_batch
            # At most one batch is in flight: memory stays bounded, and offsets are committed in order.
            finish(consumer, writes, offsets)
            writes = [pool.submit(copy, postgres, *columns), pool.submit(insert, clickhouse, *columns)]
            offsets = offsets_of_batch
        finish(consumer, writes, offsets)
    consumer.close()
    print(f"read {read}, of which failed {failed}")


def decode(messages):
    """Decodes messages. Returns columns, each partition's next offset, and how many messages could not become a row."""
    requests, links, times, nexts, failed = [], [], [], {}, 0
    for message in messages:
        if message.error():
            raise KafkaException(message.error())
        nexts[message.topic(), message.partition()] = message.offset() + 1
        try:
            request, link, time_us = parse(message.value())
        except ValueError:
            failed += 1
            continue
        requests.append(request.encode())
        links.append(link.encode())
        times.append(time_us)
    offsets = [TopicPartition(topic, partition, offset) for (topic, partition), offset in nexts.items()]
    return (requests, links, times), offsets, failed


def copy(postgres, requests, links, times):
    """Sends binary rows, packed by hand: no escaping, no parsing of times, and one call of the client for each batch."""
    if not times:
        return
    rows = [
        b"%b%b%b%b%b" % (
            pack_count_and_length(3, len(request)),
            request,
            pack_length(len(link)),
            link,
            pack_time(8, time_us - POSTGRES_EPOCH_US),
        )
        for request, link, time_us in zip(requests, links, times)
    ]
    statement = "copy user_footprint (request, link, footprint_time) from stdin (format binary)"
    with postgres.cursor() as cursor, cursor.copy(statement) as stream:
        stream.write(COPY_HEAD + b"".join(rows) + COPY_TAIL)


def insert(clickhouse, requests, links, times):
    if not times:
        return
    clickhouse.insert(
        "user_footprint",
        [requests, links, times],
        column_names=databases.COLUMNS,
        column_type_names=databases.COLUMN_TYPES,
        column_oriented=True,
    )


def finish(consumer, writes, offsets):
    """Waits until both databases have the batch; only then may its offsets be committed."""
    for write in writes:
        write.result()
    if offsets:
        consumer.commit(offsets=offsets, asynchronous=False)


if __name__ == "__main__":
    main()
