-- Which links lost the most views, compared with the period of the same length just before?
-- Answer: at most 15 rows, the largest change first. A link without views in one of the periods counts as 0 there.

-- postgresql
select
  "Page",
  "Before",
  "Now",
  "Now" - "Before" as "Change"
from (
  select
    link as "Page",
    count(*) filter (where footprint_time < $__timeFrom()::timestamptz) as "Before",
    count(*) filter (where footprint_time >= $__timeFrom()::timestamptz) as "Now"
  from user_footprint
  where footprint_time >= $__timeFrom()::timestamptz - ($__timeTo()::timestamptz - $__timeFrom()::timestamptz)
    and footprint_time <= $__timeTo()::timestamptz
    and starts_with(link, ${prefix:sqlstring})
  group by link
) pages
where "Now" < "Before"
order by "Change" asc, "Page" collate "C"
limit 15

-- clickhouse
select
  link as "Page",
  countIf(footprint_time < $__fromTime_ms) as "Before",
  countIf(footprint_time >= $__fromTime_ms) as "Now",
  toInt64("Now") - toInt64("Before") as "Change"
from user_footprint
where footprint_time >= $__fromTime_ms - toIntervalMillisecond(dateDiff('millisecond', $__fromTime_ms, $__toTime_ms))
  and footprint_time <= $__toTime_ms
  and startsWith(link, ${prefix:sqlstring})
group by link
having "Now" < "Before"
order by "Change" asc, link
limit 15
