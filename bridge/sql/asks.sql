-- Which daemons listen to what commands ask.

-- name: workers
-- Who holds the shared lock that every working process holds.
select pid from pg_locks
where locktype = 'advisory' and granted and mode = 'ShareLock' and objsubid = 1
  and ((classid::bigint << 32) | objid::bigint) = $1
  and database = (select oid from pg_database where datname = current_database());

-- name: enlisted
-- Whether any daemon has this tenant in its configuration: one works for it, or will before long.
select true from owner where tenant = $1 and (daemon is not null or since > now() - interval '30 seconds');
