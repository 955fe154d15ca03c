-- How a sink fares.

-- name: well
insert into sink as s (tenant, name, ok_at) values ($1, $2, now())
on conflict (tenant, name) do update
set ok_at = now(), error = '', failing_since = null, denied = '', probes = 0, due_at = null;

-- name: failing
insert into sink as s (tenant, name, error, failing_since, denied, probes, due_at)
values ($1, $2, $3, now(), $4, $5, now() + $6 * interval '1 second')
on conflict (tenant, name) do update
set error = excluded.error, failing_since = coalesce(s.failing_since, now()), denied = excluded.denied,
    probes = excluded.probes, due_at = excluded.due_at;

-- name: state
select denied, probes, due_at, error, coalesce(due_at > now(), false) as waits,
    coalesce(extract(epoch from now() - failing_since)::float8, 0) as failed_for
from sink where tenant = $1 and name = $2;

-- name: probe_now
update sink set due_at = null where tenant = $1;
