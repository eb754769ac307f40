-- How old is the newest stored event at the end of the time range?
-- Answer: one row, seconds. Null if no event was received in the range.

-- postgresql
select
  extract(epoch from $__timeTo()::timestamptz - max(received_at))::double precision as "Age"
from user_footprint
where $__timeFilter(received_at)

-- clickhouse
select
  dateDiff('millisecond', maxOrNull(received_at), $__toTime_ms) / 1000 as "Age"
from user_footprint
where $__timeFilter_ms(received_at)
