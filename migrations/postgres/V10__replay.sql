-- Dead letters that are being stored again (`footprint dead-letters replay`), a row for each batch. It is written before ClickHouse gets
-- any of the batch, and deleted with the dead letters. So after a death the next replay finishes the same batch, under the same
-- deduplication token and by the same definition.
create table footprint_replay (
    route text not null references footprint_route,
    source bigint not null references footprint_source,
    partition integer not null,
    number bigint not null,             -- random; it is in the batch's token
    fingerprint bigint not null,        -- of the definition that decodes the batch, as in footprint_definition
    offsets bigint[] not null,          -- of its dead letters
    sinks text[] not null,              -- the column sink of each
    begun_at timestamptz not null default now(),
    primary key (route, source, partition),
    check (cardinality(offsets) = cardinality(sinks))
);
