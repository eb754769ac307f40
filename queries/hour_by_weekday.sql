-- At which hours of which weekdays were the views, in the chosen time zone?
-- Answer: one row for each weekday that has views, Monday first, with a column for each hour. The columns are written out, so that
-- Grafana's own table can show the map: its heatmap panel needs a time axis.

-- postgresql
select
  (array['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'])[day] as "Weekday",
  count(*) filter (where hour = 0) as "00",
  count(*) filter (where hour = 1) as "01",
  count(*) filter (where hour = 2) as "02",
  count(*) filter (where hour = 3) as "03",
  count(*) filter (where hour = 4) as "04",
  count(*) filter (where hour = 5) as "05",
  count(*) filter (where hour = 6) as "06",
  count(*) filter (where hour = 7) as "07",
  count(*) filter (where hour = 8) as "08",
  count(*) filter (where hour = 9) as "09",
  count(*) filter (where hour = 10) as "10",
  count(*) filter (where hour = 11) as "11",
  count(*) filter (where hour = 12) as "12",
  count(*) filter (where hour = 13) as "13",
  count(*) filter (where hour = 14) as "14",
  count(*) filter (where hour = 15) as "15",
  count(*) filter (where hour = 16) as "16",
  count(*) filter (where hour = 17) as "17",
  count(*) filter (where hour = 18) as "18",
  count(*) filter (where hour = 19) as "19",
  count(*) filter (where hour = 20) as "20",
  count(*) filter (where hour = 21) as "21",
  count(*) filter (where hour = 22) as "22",
  count(*) filter (where hour = 23) as "23"
from (
  select extract(isodow from local_time)::integer as day, extract(hour from local_time)::integer as hour
  from (
    select footprint_time at time zone ${tz:sqlstring} as local_time
    from user_footprint
    where $__timeFilter(footprint_time)
      and starts_with(link, ${prefix:sqlstring})
  ) local_times
) hours
group by day
order by day

-- clickhouse
select
  ['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'][day] as "Weekday",
  countIf(hour = 0) as "00",
  countIf(hour = 1) as "01",
  countIf(hour = 2) as "02",
  countIf(hour = 3) as "03",
  countIf(hour = 4) as "04",
  countIf(hour = 5) as "05",
  countIf(hour = 6) as "06",
  countIf(hour = 7) as "07",
  countIf(hour = 8) as "08",
  countIf(hour = 9) as "09",
  countIf(hour = 10) as "10",
  countIf(hour = 11) as "11",
  countIf(hour = 12) as "12",
  countIf(hour = 13) as "13",
  countIf(hour = 14) as "14",
  countIf(hour = 15) as "15",
  countIf(hour = 16) as "16",
  countIf(hour = 17) as "17",
  countIf(hour = 18) as "18",
  countIf(hour = 19) as "19",
  countIf(hour = 20) as "20",
  countIf(hour = 21) as "21",
  countIf(hour = 22) as "22",
  countIf(hour = 23) as "23"
from (
  select toDayOfWeek(footprint_time, 0, ${tz:sqlstring}) as day, toHour(footprint_time, ${tz:sqlstring}) as hour
  from user_footprint
  where $__timeFilter_ms(footprint_time)
    and startsWith(link, ${prefix:sqlstring})
) as hours
group by day
order by day
