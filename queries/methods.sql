-- How many views came by each method?
-- Answer: one row for each method, the most frequent first.

-- postgresql
select
  request as "Method",
  count(*) as "Views"
from user_footprint
where $__timeFilter(footprint_time)
  and starts_with(link, ${prefix:sqlstring})
group by request
order by count(*) desc, request collate "C"

-- clickhouse
select
  request as "Method",
  count() as "Views"
from user_footprint
where $__timeFilter_ms(footprint_time)
  and startsWith(link, ${prefix:sqlstring})
group by request
order by "Views" desc, request
