-- Who owns a partition, for people: the consumer group, the machine and the process of the last take-over. Two groups on one ledger
-- would take every partition from each other for ever; by these columns the second sees the first, waits and names it.
alter table footprint_ledger
    add column holder_group text,     -- null: an older program took the partition over
    add column holder_host text,
    add column holder_pid integer;
