"""Both databases by the old consumer's environment names, and its tables of three columns. As a program: counts their rows."""

from os import environ

import clickhouse_connect
import psycopg

COLUMNS = ["request", "link", "footprint_time"]
# As the client sends them; the server makes its LowCardinality of the first, which costs Python more than the wire.
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
        # On one machine compression only costs; footprint leaves it out there too.
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
