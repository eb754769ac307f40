-- What decides a record's row, each text under which a route's ranges were ever claimed: a range that is pending is finished by
-- the definition that claimed it, whatever the configuration says since. A row for each change of a configuration: few.
create table footprint_definition (
    route text not null references footprint_route,
    fingerprint bigint not null,        -- as in footprint_ledger.fingerprints: the first 63 bits of a hash of the text
    definition text not null,           -- JSON: the decoder's version, the zone, the columns
    noted_at timestamptz not null default now(),
    primary key (route, fingerprint)
);
