-- How many views does each database count in each interval?
-- Answer: one row for each interval that has views, in time order. The column has the database's name, so that one panel can show both.

-- postgresql
select
  $__timeGroupAlias(footprint_time,$__interval),
  count(*) as "PostgreSQL"
from user_footprint
where $__timeFilter(footprint_time)
  and starts_with(link, ${prefix:sqlstring})
group by 1
order by 1

-- clickhouse
select
  $__timeInterval(footprint_time) as "time",
  count() as "ClickHouse"
from user_footprint
where $__timeFilter_ms(footprint_time)
  and startsWith(link, ${prefix:sqlstring})
group by "time"
order by "time"
