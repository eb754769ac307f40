-- The user of Grafana, who may read the route's table and nothing else (grafana/README.md says why). It may run again.
-- clickhouse-client gets the password as a parameter: clickhouse-client --param_password=...
create user if not exists grafana;
alter user grafana identified with sha256_password by {password:String} settings readonly = 2, max_execution_time = 30;
grant select on prd.user_footprint to grafana;
