-- The workflows that are owed, done by one of the daemons.

-- name: take
-- $1: the tenants; $2, $3: sources (with their tenants) that have enough to do; $4 seconds until somebody else may.
update workflow_call w
set state = 'doing', due_at = now() + $4 * interval '1 second', tries = tries + 1
from (
    select c.tenant, c.key from workflow_call c
    where c.state in ('due', 'doing') and c.due_at <= now() and c.tenant = any($1::text[])
      and not exists (select from unnest($2::text[], $3::text[]) as b (tenant, source)
                      where b.tenant = c.tenant and b.source = c.source)
    order by c.due_at limit 1 for update skip locked
) d
where w.tenant = d.tenant and w.key = d.key
returning w.tenant, w.key, w.workflow, w.action, w.source, w.told, w.contact, w.contact_url, w.tries;

-- name: hold
-- They are still being done.
update workflow_call w set due_at = now() + $3 * interval '1 second'
from unnest($1::text[], $2::text[]) as h (tenant, key) where w.tenant = h.tenant and w.key = h.key and w.state = 'doing';

-- name: done
update workflow_call set state = 'done', done_at = now(), made_id = $3, made_url = $4, code = '', reason = ''
where tenant = $1 and key = $2;

-- name: later
-- Unless somebody else has taken it meanwhile ($3: the try that this is about).
update workflow_call set state = 'due', due_at = now() + $4 * interval '1 second', reason = $5
where tenant = $1 and key = $2 and tries = $3 and state = 'doing';

-- name: failed
update workflow_call set state = 'failed', code = $4, reason = $5
where tenant = $1 and key = $2 and tries = $3 and state = 'doing';

-- name: prune
delete from workflow_call where state = 'done' and done_at < now() - interval '1 day';

-- name: refusals
select workflow, action, source, told, code, reason, asked_at as since from workflow_call
where tenant = $1 and state = 'failed' order by asked_at;

-- name: retry
update workflow_call set state = 'due', due_at = now(), tries = 0 where tenant = $1 and state = 'failed';

-- name: waiting
select count(*)::int from workflow_call where tenant = $1 and state in ('due', 'doing');
