-- What a person has paused: a route, or one of its sinks. Every process that runs the route looks here every two seconds. Few rows; a pause
-- that is over is deleted.
create table footprint_pause (
    route text not null references footprint_route,
    sink text not null check (sink in ('', 'postgres', 'clickhouse')),  -- '': the whole route
    reason text not null,               -- for people: it is shown wherever the pause is
    paused_by text not null,            -- user and machine
    paused_at timestamptz not null default now(),
    primary key (route, sink)           -- a pause is asked for once, and the first reason stays
);
