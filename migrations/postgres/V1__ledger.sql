-- What is claimed and stored of each partition, and who may write (docs: the exactly-once protocol).

-- One life of one topic. A topic deleted and made again is another source.
create table footprint_source (
    id bigint primary key,              -- the first 63 bits of a hash of (cluster_id, topic_id), never a sequence:
                                        -- after a restore a sequence would give an old number to another topic
    cluster_id text not null,
    topic text not null,
    topic_id text not null,             -- Kafka's own, base64
    first_seen timestamptz not null default now(),
    unique (cluster_id, topic_id)
);

-- A pair of tables belongs to one route only: two routes writing one table would double it.
create table footprint_route (
    route text primary key,
    postgres_table text not null unique,
    clickhouse_table text not null unique,
    first_seen timestamptz not null default now()
);

create table footprint_ledger (
    route text not null references footprint_route,
    source bigint not null references footprint_source,
    partition integer not null,
    epoch bigint not null,              -- grows with every take-over; every guard compares it and the owner
    owner uuid not null,                -- fresh for every take-over: a restore sets epochs back
    claimed bigint not null,            -- every batch that a sink was ever sent ends at or below it
    dead_letters_next bigint not null,  -- frontier of the dead letters; moves with postgres_next while that is on
    postgres_next bigint,               -- frontier of PostgreSQL's rows; null: switched off
    clickhouse_next bigint,             -- frontier of ClickHouse's rows; null: switched off
    postgres_stopped bigint,            -- where PostgreSQL's rows stopped when they were switched off
    clickhouse_stopped bigint,          -- where ClickHouse's rows stopped when they were switched off
    claims bigint[] not null,           -- ends of the ranges claimed and not yet acknowledged by every sink, rising
    fingerprints bigint[] not null,     -- of the decoder that claimed each
    doubtful_below bigint,              -- H: ranges that start below it are read back even after an OK
    postgres_identity text not null,    -- system identifier and timeline of the PostgreSQL that wrote the row last
    format integer not null,            -- of this row: an older program refuses a newer one's
    updated_at timestamptz not null default clock_timestamp(),
    primary key (route, source, partition),
    check (cardinality(claims) = cardinality(fingerprints))
) with (fillfactor = 50);               -- rewritten several times a second: room for updates in place

-- Records that no sink will ever hold: destroyed by retention before they were stored, or left out when a sink was
-- switched on again.
create table footprint_gap (
    route text not null,
    source bigint not null,
    partition integer not null,
    sink text not null,                 -- 'both', 'postgres' or 'clickhouse'
    start_offset bigint not null,
    end_offset bigint not null,
    reason text not null,
    noted_at timestamptz not null default now()
);

create table dead_letters (
    route text not null,
    kafka_source bigint not null,
    kafka_partition integer not null,
    kafka_offset bigint not null,
    key bytea,
    payload bytea,                      -- untouched; null for a tombstone
    headers jsonb,                      -- an array of {"key", "value"}; "base64" in place of value where it is not text
    reason text not null,               -- a code, a colon and a sentence
    received_at timestamptz not null,
    stored_at timestamptz not null default now()
);
create index dead_letters_received_at on dead_letters using brin (received_at);
