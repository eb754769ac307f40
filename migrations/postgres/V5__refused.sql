-- A row that one database refuses is kept by the other: its dead letter is for the one database alone.
alter table dead_letters
    -- the database that lacks the row: 'both', 'postgres' or 'clickhouse', as in footprint_gap
    add column sink text not null default 'both' check (sink in ('both', 'postgres', 'clickhouse'));
-- a take-over asks which records a database lacks for good, and a dead letter that is written again after a lost answer must
-- not be there twice; nearly every dead letter is for both, so the index stays small
create unique index dead_letters_of_one on dead_letters (route, kafka_source, kafka_partition, kafka_offset, sink)
    where sink <> 'both';
