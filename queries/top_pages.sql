-- Which links had the most views, and which share of all views?
-- Answer: at most 20 rows, the most viewed first. Equal counts are ordered by the link's bytes: PostgreSQL's own collation would order
-- them differently from ClickHouse.

-- postgresql
select
  link as "Page",
  count(*) as "Views",
  count(*)::double precision / (sum(count(*)) over ())::double precision as "Share"
from user_footprint
where $__timeFilter(footprint_time)
  and starts_with(link, ${prefix:sqlstring})
group by link
order by count(*) desc, link collate "C"
limit 20

-- clickhouse
select
  link as "Page",
  count() as "Views",
  count() / sum(count()) over () as "Share"
from user_footprint
where $__timeFilter_ms(footprint_time)
  and startsWith(link, ${prefix:sqlstring})
group by link
order by "Views" desc, link
limit 20
