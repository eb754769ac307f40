-- A row that is lost with a restore and made again may claim ranges that were claimed before, whose deduplication tokens
-- ClickHouse still knows though their rows are gone: it would answer OK and store nothing. The row's birth is in its
-- tokens, so that those of another row are never met.
alter table footprint_ledger
    add column birth bigint not null default 0;  -- random, from the take-over that made the row; 0: made before this column
comment on column footprint_ledger.postgres_identity is
    'system identifier, timeline and start of the PostgreSQL under which the row''s owner settled it; empty: not yet settled';
