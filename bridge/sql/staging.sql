-- The run's own tables, and what of a page needs no staging.

-- name: stage
-- The run's own tables, on its own connection; they cost no WAL and end with it.
create temp table if not exists staged (
    n integer, id text, version text, digest bytea, checksum bytea, names bigint, named boolean, callable smallint,
    modified timestamptz, body text, odd smallint);
create temp table if not exists staged_number (n integer, number text, kind text, company boolean);
create temp table if not exists seen (id text, was_read boolean);
create temp table if not exists gone (n integer, id text);
create temp table if not exists bad (id text, version text, reason text);
create temp table if not exists change (
    n integer, id text, version text, digest bytea, checksum bytea, names bigint, named boolean, callable smallint,
    modified timestamptz, body text, pk bigint, fate text, loss text, odd smallint);
create temp table if not exists old_number (contact bigint, number text);
create temp table if not exists touched (number text);
truncate staged, staged_number, seen, gone, bad, change, old_number, touched;

-- name: same
-- Of a page's records those that are stored as they are, by their place in the page, in one array; they are noted as seen.
with same as (
    select u.n, u.id
    from unnest($3::text[], $4::bytea[], $5::text[]) with ordinality as u (id, digest, version, n)
    join contact c on c.tenant = $1 and c.source = $2 and c.id = u.id
    where c.digest = u.digest and c.version = u.version
), noted as (
    insert into seen select id, true from same
)
select array(select n::integer from same);

-- name: known
-- Of listed (id, version) pairs the ids that are held at that version, readable or not; they are noted as seen.
with held as (
    select u.id
    from unnest($3::text[], $4::text[]) as u (id, version)
    where exists (select from contact c
                  where c.tenant = $1 and c.source = $2 and c.id = u.id and c.version = u.version)
       or exists (select from unreadable r
                  where r.tenant = $1 and r.source = $2 and r.id = u.id and r.version = u.version)
), noted as (
    insert into seen select id, false from held
)
select id from held;
