-- The sources and sinks as configured.

-- name: enrol
insert into source as s (tenant, name, type, rank)
select n.tenant, n.name, n.type, n.rank
from unnest($1::text[], $2::text[], $3::text[], $4::smallint[]) as n (tenant, name, type, rank)
on conflict (tenant, name) do update set type = excluded.type, rank = excluded.rank
where (s.type, s.rank) is distinct from (excluded.type, excluded.rank)
returning s.tenant;

-- name: retire
-- $1: the tenants that are looked at, null: all that there ever were; $2 and $3: the sources that they have.
update source s set rank = 32767, error = '', failing_since = null, denied = false, due_at = null
where s.rank <> 32767 and ($1::text[] is null or s.tenant = any($1::text[]))
and not exists (select from unnest($2::text[], $3::text[]) as n (tenant, name) where n.tenant = s.tenant and n.name = s.name)
returning s.tenant;

-- name: tell
select pg_notify($1, json_build_array(t.tenant)::text) from unnest($2::text[]) as t (tenant);

-- name: forget_empty
-- What left the file and holds nothing is no source any more.
delete from source s where s.rank = 32767 and ($1::text[] is null or s.tenant = any($1::text[]))
and not exists (select from contact c where c.tenant = s.tenant and c.source = s.name);

-- name: policies
select tenant, name, policy from sink where tenant = any($1::text[]);

-- name: policies_in_use
-- The same, of tenants that some daemon works for.
select s.tenant, s.name, s.policy from sink s
join owner o on o.tenant = s.tenant and o.daemon is not null
where s.tenant = any($1::text[]);

-- name: commit_locks
-- Nobody commits to these tenants until the end of the transaction.
select pg_advisory_xact_lock(t.key) from unnest($1::bigint[]) as t (key);

-- name: adopt
-- Sinks of which nothing is known, and for which there is nothing to compute.
insert into sink (tenant, name, policy)
select n.tenant, n.name, n.policy from unnest($1::text[], $2::text[], $3::text[]) as n (tenant, name, policy)
where not exists (select from number where tenant = n.tenant)
and not exists (select from entry where tenant = n.tenant and sink = n.name)
on conflict (tenant, name) do nothing
returning tenant, name;

-- name: with_users
-- Those tenants of whose extensions anything is known.
select t.tenant from unnest($1::text[]) as t (tenant)
where exists (select from crm_user u where u.tenant = t.tenant)
or exists (select from extension e where e.tenant = t.tenant);
