-- Which processes throw away what they keep of a person who was erased.

-- name: hearing
-- Who holds the shared lock that each of them holds.
select pid from pg_locks
where locktype = 'advisory' and granted and mode = 'ShareLock' and objsubid = 1
  and ((classid::bigint << 32) | objid::bigint) = $1
  and database = (select oid from pg_database where datname = current_database());
