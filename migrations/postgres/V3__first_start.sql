-- Where a route starts on a source. Written once, by whoever takes the first of its partitions over, of all partitions that
-- the topic has then: the others may be taken over by anybody, at any time, and start where they would have started now.
create table footprint_first_start (
    route text not null references footprint_route,
    source bigint not null references footprint_source,
    commits bigint[] not null,          -- of each partition, 0 first: what another consumer had committed in the group; null: nothing.
                                        -- A partition past its end was added later, and starts at the log's start
    ends bigint[],                      -- of each partition: the log's end, where it starts under offset_reset = latest;
                                        -- null: at the log's start
    noted_at timestamptz not null default now(),
    primary key (route, source),
    check (cardinality(ends) = cardinality(commits))
);

-- Where a partition did start: below it lies nothing of ours, and `verify` misses nothing.
alter table footprint_ledger
    add column first_offset bigint;     -- null: made before this column, or made anew after the ledger was lost
