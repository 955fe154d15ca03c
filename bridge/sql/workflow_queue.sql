-- The workflows that are owed, done by one of the daemons.

-- name: take
-- What was never tried goes first. $1: the tenants; $2 to $4: webhooks ($3) and sources (with their tenants) that have
-- enough to do; $5, $6: what is being done here, whatever the clock says; $7: only what was never tried; $8 seconds until
-- somebody else may; $9: the longest pause. What is due later than that, or in a while and was never tried, was written
-- down by a clock that was set back since.
update workflow_call w
set state = 'doing', due_at = now() + $8 * interval '1 second', tries = tries + 1
from (
    select c.tenant, c.key from workflow_call c
    where c.state in ('due', 'doing') and c.tenant = any($1::text[])
      and (c.tries = 0 or c.due_at <= now() or c.due_at > now() + $9 * interval '1 second')
      and not (c.tries > 0 and $7)
      and not exists (select from unnest($2::text[], $3::boolean[], $4::text[]) as b (tenant, webhook, name)
                      where b.tenant = c.tenant and b.webhook = (c.action = 'webhook')
                        and b.name = case c.action when 'webhook' then c.workflow else c.source end)
      and not exists (select from unnest($5::text[], $6::text[]) as r (tenant, key)
                      where r.tenant = c.tenant and r.key = c.key)
    order by c.tries > 0, c.due_at limit 1 for update skip locked
) d
where w.tenant = d.tenant and w.key = d.key
returning w.tenant, w.key, w.workflow, w.action, w.source, w.told, w.contact, w.contact_url, w.tries;

-- name: hold
-- They are still being done; those that somebody else took meanwhile ($3: the try that this is about) are not returned.
update workflow_call w set due_at = now() + $4 * interval '1 second'
from unnest($1::text[], $2::text[], $3::integer[]) as h (tenant, key, tries)
where w.tenant = h.tenant and w.key = h.key and w.tries = h.tries and w.state = 'doing'
returning w.tenant, w.key;

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
