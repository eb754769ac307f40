-- How many views were there in each interval, and of how many distinct links?
-- Answer: one row for each interval that has views, in time order.

-- postgresql
select
  $__timeGroupAlias(footprint_time,$__interval),
  count(*) as "Views",
  count(distinct link) as "Distinct links"
from user_footprint
where $__timeFilter(footprint_time)
  and starts_with(link, ${prefix:sqlstring})
group by 1
order by 1

-- clickhouse
select
  $__timeInterval(footprint_time) as "time",
  count() as "Views",
  uniqExact(link) as "Distinct links"
from user_footprint
where $__timeFilter_ms(footprint_time)
  and startsWith(link, ${prefix:sqlstring})
group by "time"
order by "time"
