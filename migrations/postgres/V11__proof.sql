-- What was proven: by the audit while `run` works, and by `footprint verify`. One row for each partition and prover, written again with
-- each result. No statement of the protocol reads it.
create table footprint_proof (
    route text not null,
    source bigint not null,
    partition integer not null,
    proven_by text not null check (proven_by in ('audit', 'verify')),
    start_offset bigint not null,       -- every offset of [start_offset, end_offset) was compared in both databases
    end_offset bigint not null,
    proven_at timestamptz not null,     -- of the last range that was compared
    postgres_rows bigint not null,      -- rows and dead letters compared; by the audit: since its process began
    clickhouse_rows bigint not null,
    postgres_lost bigint not null,      -- faults that are there now; those of dead letters count for postgresql
    postgres_doubled bigint not null,
    postgres_changed bigint not null,
    clickhouse_lost bigint not null,
    clickhouse_doubled bigint not null,
    clickhouse_changed bigint not null,
    example text,                       -- the first of them in words; null: none
    faulty_ranges bigint[] not null default '{}',   -- where the audit's ranges with a fault begin: it looks there first after a restart
    primary key (route, source, partition, proven_by)
) with (fillfactor = 50);               -- rewritten every few seconds: room for updates in place
