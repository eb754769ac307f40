-- How many stored events a second did Kafka receive in each interval?
-- Answer: one row for each interval that has events, in time order. The time is that of the Kafka record, not of the insert. Rows that
-- the old consumer stored have no such time, and are left out.

-- postgresql
select
  $__timeGroupAlias(received_at,$__interval),
  count(*) * 1000::double precision / $__interval_ms as "PostgreSQL"
from user_footprint
where $__timeFilter(received_at)
group by 1
order by 1

-- clickhouse
select
  $__timeInterval(moment) as "time",
  count() / $__interval_s as "ClickHouse"
from (
  select assumeNotNull(received_at) as moment
  from user_footprint
  where $__timeFilter_ms(received_at)
) as received
group by "time"
order by "time"
