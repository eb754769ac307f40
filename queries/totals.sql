-- How many views were there, and of how many distinct links?
-- Answer: one row. Both counts are exact in both databases.

-- postgresql
select
  count(*) as "Views",
  count(distinct link) as "Distinct links"
from user_footprint
where $__timeFilter(footprint_time)
  and starts_with(link, ${prefix:sqlstring})

-- clickhouse
select
  count() as "Views",
  uniqExact(link) as "Distinct links"
from user_footprint
where $__timeFilter_ms(footprint_time)
  and startsWith(link, ${prefix:sqlstring})
