-- A route's table, made when it is not there. "R": repeatable, filled in from the route's definition at every `migrate`
-- and changing nothing that exists; what a table made earlier lacks is added by src/store/postgres/shape.rs.
create table if not exists {{table}} (
{{columns}},
    -- a row's identity: no two records ever share one. No unique key: it costs three times the COPY; the ledger is the
    -- guard, `verify` the proof
    kafka_source bigint not null,
    kafka_partition integer not null,
    kafka_offset bigint not null,
    received_at timestamptz not null    -- the record's Kafka time
);
