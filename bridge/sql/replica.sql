-- How far a primary has written, and how far a standby of it has come.

-- name: written
-- Where every commit that is known of ends. One that does not wait for the disk may be known before it is flushed.
select case when not pg_is_in_recovery() then pg_wal_lsn_diff(
    case current_setting('synchronous_commit') when 'off' then pg_current_wal_insert_lsn()
    else pg_current_wal_flush_lsn() end, '0/0')::bigint end;

-- name: replayed
-- What every question asked after this one sees.
select case when pg_is_in_recovery() then pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint end;

-- name: whose
-- The same for a primary and all that were ever copied from it.
select system_identifier from pg_control_system();
