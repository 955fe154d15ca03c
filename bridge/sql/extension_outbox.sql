-- Delivery of extensions.

-- name: take
select number, wanted, acked, sent, state, tries from extension
where tenant = $1 and sink = $2 and state in ('due', 'sent') and due_at <= now()
order by due_at, number limit $3;

-- name: contacts_try
-- Whether a contact's push is due there, or may still be answered: it was sent within the last $3 seconds.
select exists (
    select from entry
    where tenant = $1 and sink = $2 and state in ('due', 'sent')
    and (due_at <= now() or sent_at > now() - $3 * interval '1 second'));

-- name: mark
-- Written before anything is sent: whatever happens then, it is known that something may have been.
update extension e set state = 'sent', sent = m.sent::json, due_at = now() + $5 * interval '1 second'
from unnest($3::text[], $4::text[]) as m (number, sent)
where e.tenant = $1 and e.sink = $2 and e.number = m.number;

-- name: holds
-- The sink holds $4 ({}: we know not what; null: nothing); what it should hold may have changed meanwhile.
update extension
set acked = $4::text::json, sent = null, tries = 0, code = '', reason = '', due_at = now(),
    state = case when $5 and wanted is null then 'clean'
                 when wanted::text is not distinct from $4::text then 'clean' else 'due' end
where tenant = $1 and sink = $2 and number = $3;

-- name: forget
-- It is not there, and need not be.
delete from extension where tenant = $1 and sink = $2 and number = $3 and wanted is null;

-- name: refused
-- Until it changes; what changed meanwhile is due again.
update extension
set state = case when wanted::text is not distinct from $4::text then 'refused' else 'due' end,
    code = $5, reason = $6, sent = null, tries = 0, due_at = now()
where tenant = $1 and sink = $2 and number = $3;

-- name: later
update extension
set state = $4, sent = $5::json, due_at = now() + $6 * interval '1 second', tries = tries + 1, reason = $7
where tenant = $1 and sink = $2 and number = $3;

-- name: waiting
select count(*)::int from extension where tenant = $1 and sink = $2 and state in ('due', 'sent');

-- name: refusals
select sink, number, code, reason, since, wanted from extension
where tenant = $1 and state = 'refused' order by sink, number;

-- name: retry_refused
update extension set state = 'due', due_at = now(), since = now(), tries = 0 where tenant = $1 and state = 'refused';
