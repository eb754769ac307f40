-- Which events are the latest?
-- Answer: at most 50 rows, the latest first. A row that the old consumer stored has no Kafka time and no offset; it comes after the
-- others of the same time.

-- postgresql
select
  footprint_time as "Time",
  request as "Method",
  link as "Page",
  received_at as "Received by Kafka",
  kafka_partition as "Partition",
  kafka_offset as "Offset"
from user_footprint
where $__timeFilter(footprint_time)
  and starts_with(link, ${prefix:sqlstring})
order by footprint_time desc, received_at desc nulls last, kafka_partition desc nulls last, kafka_offset desc nulls last,
  link collate "C", request collate "C"
limit 50

-- clickhouse
select
  footprint_time as "Time",
  request as "Method",
  link as "Page",
  received_at as "Received by Kafka",
  kafka_partition as "Partition",
  kafka_offset as "Offset"
from user_footprint
where $__timeFilter_ms(footprint_time)
  and startsWith(link, ${prefix:sqlstring})
order by footprint_time desc, received_at desc nulls last, kafka_partition desc nulls last, kafka_offset desc nulls last,
  link, request
limit 50
