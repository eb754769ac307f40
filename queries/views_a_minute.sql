-- How many views a minute were there in each interval, and at the same time a week earlier?
-- Answer: one row for each interval that has views in either week, in time order. A week is 168 hours, so a change of the clocks in
-- the session's time zone does not matter.

-- postgresql
select
  $__timeGroupAlias(moment,$__interval),
  count(*) filter (where not is_earlier) * 60000::double precision / $__interval_ms as "This week",
  count(*) filter (where is_earlier) * 60000::double precision / $__interval_ms as "A week earlier"
from (
  select footprint_time as moment, false as is_earlier
  from user_footprint
  where $__timeFilter(footprint_time)
    and starts_with(link, ${prefix:sqlstring})
  union all
  select footprint_time + interval '168 hours', true
  from user_footprint
  where footprint_time >= $__timeFrom()::timestamptz - interval '168 hours'
    and footprint_time <= $__timeTo()::timestamptz - interval '168 hours'
    and starts_with(link, ${prefix:sqlstring})
) both_weeks
group by 1
order by 1

-- clickhouse
select
  $__timeInterval(moment) as "time",
  countIf(not is_earlier) * 60 / $__interval_s as "This week",
  countIf(is_earlier) * 60 / $__interval_s as "A week earlier"
from (
  select footprint_time as moment, false as is_earlier
  from user_footprint
  where $__timeFilter_ms(footprint_time)
    and startsWith(link, ${prefix:sqlstring})
  union all
  select footprint_time + toIntervalHour(168), true
  from user_footprint
  where footprint_time >= $__fromTime_ms - toIntervalHour(168)
    and footprint_time <= $__toTime_ms - toIntervalHour(168)
    and startsWith(link, ${prefix:sqlstring})
) as both_weeks
group by "time"
order by "time"
