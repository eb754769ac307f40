"""Connects to both databases by the old consumer's environment names, and makes its tables of three columns. Run as a program,
it counts the tables' rows."""

from os import environ

import clickhouse_connect
import psycopg

COLUMNS = ["request", "link", "footprint_time"]
# The types that the client sends. The server makes the first one LowCardinality: in Python that costs more than it saves.
COLUMN_TYPES = ["String", "String", "DateTime64(6, 'UTC')"]


def postgres():
    """A connection that commits by itself after each statement."""
    return psycopg.connect(
        host=environ["DB_HOST"],
        port=environ["DB_PORT"],
        dbname=environ["DB_NAME"],
        user=environ["DB_USER"],
        password=environ["DB_PASSWORD"],
        autocommit=True,
    )


def clickhouse():
    return clickhouse_connect.get_client(
        host=environ["CH_HOST"],
        port=int(environ["CH_PORT"]),
        username=environ["CH_USER"],
        password=environ["CH_PASSWORD"],
        database="prd",
        # On one machine, compression costs time and saves nothing; footprint does not compress there either.
        compress=False,
    )


def create_tables(postgres, clickhouse):
    postgres.execute(
        "create table if not exists user_footprint (request varchar, link varchar, footprint_time timestamptz)"
    )
    clickhouse.command(
        "create table if not exists user_footprint (link String, request LowCardinality(String), "
        "footprint_time DateTime64(6, 'UTC')) engine = MergeTree "
        "partition by toYYYYMM(footprint_time) order by (request, footprint_time)"
    )


if __name__ == "__main__":
    count = "select count(*) from user_footprint"
    print(postgres().execute(count).fetchone()[0], clickhouse().command(count))
