-- The user of Grafana, who may read the route's table and nothing else (grafana/README.md says why). It may run again.
-- psql gets the password as a variable: psql --set password=...
select 'create role grafana login' where not exists (select from pg_roles where rolname = 'grafana') \gexec
alter role grafana password :'password';
grant connect on database prd to grafana;
grant usage on schema public to grafana;
grant select on user_footprint to grafana;
alter role grafana set default_transaction_read_only = on;
alter role grafana set statement_timeout = '30s';
