-- Which daemon works for which tenant.

-- name: enter
insert into daemon (id, place, lasting, wants) values ($1, $2, $3, $4) on conflict (id) do update set beat_at = now();

-- name: beat
-- Alive, wanting $2 tenants and holding $3 of them. No row: somebody took this daemon for dead.
update daemon set beat_at = now(), wants = $2, has = $3 where id = $1;

-- name: others
select id, place, lasting, wants, has, beat_at from daemon where id <> $1;

-- name: end_sessions
-- What a dead daemon left open, or a frozen one still holds: its locks go with it.
select pg_terminate_backend(pid, 2000) from pg_stat_activity
where datname = current_database() and application_name = any($1::text[]) and pid <> pg_backend_pid();

-- name: bury
delete from daemon where id = any($1::text[]);

-- name: free
update owner set daemon = null, since = now() where daemon = any($1::text[]);

-- name: leave
update owner set daemon = null, since = now() where daemon = $1 and tenant = any($2::text[]);

-- name: held
select array_agg(tenant) from owner where daemon = $1;

-- name: enlist
insert into owner (tenant) select unnest($1::text[]) on conflict do nothing;

-- name: take
-- So many of those that nobody has ($3), and any that nobody wanted for a while ($4 seconds). None once this daemon is
-- buried, and who buries it waits for what it is just taking: what is freed then is all that it had.
with alive as (select id from daemon where id = $1 for key share)
update owner set daemon = alive.id, since = now() from alive
where tenant in (
    select tenant from (
        select tenant, since, row_number() over (order by tenant) as place
        from (select tenant, since from owner where daemon is null and tenant = any($2::text[]) for update skip locked) f
    ) n
    where place <= $3 or since < now() - $4 * interval '1 second')
returning tenant;

-- name: hold
-- Nobody else becomes the owner before this transaction ends.
select 1 from owner where tenant = $1 and daemon = $2 for share;
