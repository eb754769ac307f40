-- How long does the database take to count the views and the distinct links?
-- Answer: one row, seconds, as the server's own clock measures them. The way to Grafana is not in it.

-- postgresql
with counted as materialized (
  select
    count(*) as views,
    count(distinct link) as links
  from user_footprint
  where $__timeFilter(footprint_time)
    and starts_with(link, ${prefix:sqlstring})
)
select extract(epoch from clock_timestamp() - statement_timestamp())::float8 as "Query time"
from counted

-- clickhouse
select (toUnixTimestamp64Micro(nowInBlock64(6)) - toUnixTimestamp64Micro(now64(6))) / 1e6 as "Query time"
from (
  select
    count() as views,
    uniqExact(link) as links
  from user_footprint
  where $__timeFilter_ms(footprint_time)
    and startsWith(link, ${prefix:sqlstring})
)
where views >= links
