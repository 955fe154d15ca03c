-- Softphone accounts: who they are, and what their devices were given.

-- name: poll
-- What decides the answer to each of many polls: the user's row, and the mark of what this device was last given. Each
-- is looked up as its tenant, whose rows are then the only ones, until the query ends.
select q.n, a.login, a.disabled, a.version, a.mark
from (
    select n, username, device, set_config('bridge.tenant', tenant, true) as tenant
    from unnest($1::text[], $2::text[], $3::text[]) with ordinality as a (tenant, username, device, n) offset 0
) q
cross join lateral (
    select a.login, a.disabled, a.version, d.mark
    from account a
    left join device d on d.tenant = q.tenant and d.username = q.username and d.device = q.device
    where a.tenant = q.tenant and a.username = q.username
) a;

-- name: plan_once
-- A question takes less time than its plan.
set plan_cache_mode = force_generic_plan;

-- name: by_index
-- The plan is made once, when the tables may still be empty.
set enable_seqscan = off;

-- name: no_bitmaps
set enable_bitmapscan = off;

-- name: sip_account
select sealed, details, version from account where tenant = $1 and username = $2;

-- name: give
insert into device (tenant, username, device, given, mark)
select $1, $2, $3, $4::json, $5 from account where tenant = $1 and username = $2
on conflict (tenant, username, device) do update
set given = excluded.given, mark = excluded.mark, given_at = now();

-- name: forget_devices
-- All devices of a user but the $3 that were given something last: each new installation has a new id.
delete from device d
where d.tenant = $1 and d.username = $2 and d.device in (
    select o.device from device o where o.tenant = $1 and o.username = $2 order by o.given_at desc, o.device offset $3
);

-- name: accounts
select username, details, disabled, changed_at from account where tenant = $1 order by username;

-- name: devices
select username, device, given, given_at from device where tenant = $1 order by username, given_at desc, device;

-- name: known
select username, login, sealed, details from account where tenant = $1 and username = any($2::text[]);

-- name: save
insert into account (tenant, username, login, sealed, details)
select $1, n.username, n.login, n.sealed, n.details::json
from unnest($2::text[], $3::text[], $4::bytea[], $5::text[]) as n (username, login, sealed, details)
on conflict (tenant, username) do update
set login = excluded.login, sealed = excluded.sealed, details = excluded.details,
    version = nextval('account_version'), changed_at = now();

-- name: switch
update account set disabled = $3, version = nextval('account_version'), changed_at = now()
where tenant = $1 and username = $2 and disabled <> $3;

-- name: delete
with gone as (delete from device where tenant = $1 and username = $2)
delete from account where tenant = $1 and username = $2;
