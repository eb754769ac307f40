-- How much disk does the table need?
-- Answer: one row, bytes. "Rows" is PostgreSQL's estimate of the last vacuum or analyze, and ClickHouse's exact count. A partitioned
-- table in PostgreSQL is the sum of its partitions.

-- postgresql
select
  sum(greatest(c.reltuples, 0))::bigint as "Rows",
  sum(pg_table_size(c.oid))::bigint as "Data",
  sum(pg_indexes_size(c.oid))::bigint as "Indexes",
  sum(pg_total_relation_size(c.oid))::bigint as "Total"
from pg_class c
where c.oid = to_regclass('user_footprint')
  or c.oid in (select relid from pg_partition_tree(to_regclass('user_footprint')) where isleaf)

-- clickhouse
select
  total_rows as "Rows",
  total_bytes_uncompressed as "Uncompressed",
  total_bytes as "Total"
from system.tables
where database = currentDatabase()
  and name = 'user_footprint'
