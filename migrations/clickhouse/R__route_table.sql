-- A route's table, made when it is not there. "R": repeatable, filled in from the route's definition at every `migrate`
-- and changing nothing that exists; what a table made earlier lacks is added by src/store/clickhouse/shape.rs.
create table if not exists {{table}} (
{{columns}},
    -- a row's identity: no two records ever share one
    kafka_source Int64,
    kafka_partition Int32,
    kafka_offset Int64,
    received_at DateTime64(6, 'UTC'),   -- the record's Kafka time
    -- a read-back looks for a range of offsets: they rise with time, as the sorting key does
    index kafka_offset_minmax kafka_offset type minmax granularity 1
)
engine = MergeTree
-- by month of arrival, not of the event: an insert then touches one part, however old its events
partition by toYYYYMM(received_at)
order by {{order_by}}
settings {{settings}}
