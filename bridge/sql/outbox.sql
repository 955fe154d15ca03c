-- Delivery: what differs between the wanted and the acknowledged entry, taken, sent and settled.

-- name: take
select * from entry e
where e.tenant = $1 and e.sink = $2 and e.state in ('due', 'sent') and e.due_at <= now()
order by e.due_at limit $3
for update skip locked;

-- name: owners
-- Asked once the entries are locked. In one statement with them an owner could be as it was before that lock, and its
-- entry as it is: the sink would be told an old name, and it would count as the new one.
select pk, body from contact where tenant = $1 and pk = any($2::bigint[]);

-- name: leaving
-- Numbers that these contacts had and nobody has now: each may become the same contact's new number.
select * from entry e
where e.tenant = $1 and e.sink = $2 and e.state = 'due' and e.contact is null and e.acked is not null
  and e.acked_contact = any($3::bigint[])
order by e.number for update skip locked;

-- name: coming
-- Numbers that these contacts have and the sink does not know yet.
select * from entry e
where e.tenant = $1 and e.sink = $2 and e.state = 'due' and e.acked is null and e.contact = any($3::bigint[])
  and e.number = any(array(
      select j.key from contact h, json_to_recordset(h.body -> 'numbers') as j (key text)
      where h.tenant = $1 and h.pk = any($3::bigint[])))
order by e.number for update skip locked;

-- name: movers
-- The entries that pushes under way rename.
select * from entry e
where e.tenant = $1 and e.sink = $2 and e.number = any($3::text[]);

-- name: mark
-- Written before anything is sent: whatever happens then, it is known that something may have been.
update entry e
set state = 'sent', sent = coalesce(m.sent::json, e.sent), sent_at = now(), moved_from = m.moved_from,
    due_at = now() + $6 * interval '1 second'
from unnest($3::text[], $4::text[], $5::text[]) as m (number, sent, moved_from)
where e.tenant = $1 and e.sink = $2 and e.number = m.number;

-- name: mark_moving
update entry set state = 'moving' where tenant = $1 and sink = $2 and number = any($3::text[]);

-- name: arrived
-- The sink holds $4; what it should hold may have changed meanwhile.
update entry
set acked = $4::json, acked_names = $5, acked_kind = $6,
    acked_contact = case when contact is not null and names = $5 and kind = $6 then contact else $7 end,
    state = case when contact is not null and names = $5 and kind = $6 then 'clean' else 'due' end,
    sent = null, sent_at = null, moved_from = null, due_at = now(), tries = 0, misses = 0, code = '', reason = ''
where tenant = $1 and sink = $2 and number = $3;

-- name: arrived_together
-- The same for many, but for those that somebody else is writing to just now: waiting for one while others are held
-- might be for ever. The numbers that were noted.
with free as (
    select e.number from entry e
    where e.tenant = $1 and e.sink = $2 and e.number = any($3::text[])
    for update of e skip locked
)
update entry e
set acked = m.acked::json, acked_names = m.names, acked_kind = m.kind,
    acked_contact = case when e.contact is not null and e.names = m.names and e.kind = m.kind then e.contact
                         else m.contact end,
    state = case when e.contact is not null and e.names = m.names and e.kind = m.kind then 'clean' else 'due' end,
    sent = null, sent_at = null, moved_from = null, due_at = now(), tries = 0, misses = 0, code = '', reason = ''
from unnest($3::text[], $4::text[], $5::bigint[], $6::text[], $7::bigint[]) as m (number, acked, names, kind, contact)
join free f on f.number = m.number
where e.tenant = $1 and e.sink = $2 and e.number = m.number
returning e.number;

-- name: vacated_unwanted
delete from entry where tenant = $1 and sink = $2 and number = $3 and contact is null;

-- name: vacated
-- The sink holds nothing for it any more, and by now it should.
update entry
set acked = null, acked_names = null, acked_kind = null, acked_contact = null, state = 'due',
    sent = null, sent_at = null, moved_from = null, due_at = now(), tries = 0, misses = 0, code = '', reason = ''
where tenant = $1 and sink = $2 and number = $3;

-- name: refused
-- Until it changes; what changed meanwhile is due again. $8: the sink said that it holds none. $9: what was sent
-- before may be there all the same; it stays written down, and is asked for when the entry changes.
update entry
set state = case when names is not distinct from $6 and kind is not distinct from $7 then 'refused'
                 when $9 then 'sent' else 'due' end,
    code = $4, reason = $5, due_at = now(), sent = case when $9 then sent end, sent_at = null, moved_from = null,
    tries = 0, misses = 0,
    acked = case when $8 then null else acked end, acked_names = case when $8 then null else acked_names end,
    acked_kind = case when $8 then null else acked_kind end
where tenant = $1 and sink = $2 and number = $3;

-- name: later
-- Nothing was sent: it waits as it was before ($4, with $5 as its sent entry), for $6 seconds.
update entry
set state = $4, sent = $5::json, moved_from = $8, due_at = now() + $6 * interval '1 second', tries = tries + 1, reason = $7
where tenant = $1 and sink = $2 and number = $3;

-- name: unsettled
-- It may have been done: asked again in $4 seconds.
update entry
set state = 'sent', due_at = now() + $4 * interval '1 second', tries = tries + 1, misses = $5, reason = $6, code = $7
where tenant = $1 and sink = $2 and number = $3;

-- name: free
-- Its mover was not sent.
update entry set state = 'due', due_at = now() where tenant = $1 and sink = $2 and number = $3 and state = 'moving';

-- name: doubt
-- Its mover is settled, and may have taken it along in a try whose answer was lost: it is asked for.
update entry
set state = 'sent', sent = acked, sent_at = now(), acked = null, acked_names = null, acked_kind = null, due_at = now()
where tenant = $1 and sink = $2 and number = $3 and state = 'moving';

-- name: clean
update entry
set state = 'clean', acked_names = names, acked_kind = kind, acked_contact = contact, code = '', reason = '', tries = 0
where tenant = $1 and sink = $2 and number = $3;

-- name: waiting
-- Pushes that wait or are under way, by the index of those; a number that goes with another one's push is no push.
select count(*)::int from entry where tenant = $1 and sink = $2 and state in ('due', 'sent');

-- name: refusals
select e.sink, e.number, e.code, e.reason, e.since, c.body, e.acked from entry e
left join contact c on c.tenant = e.tenant and c.pk = e.contact
where e.tenant = $1 and e.state = 'refused' order by e.sink, e.number;

-- name: retry_refused
-- They are asked for first, then added, as if an answer had been lost.
update entry set state = 'sent', due_at = now(), sent_at = now() - interval '1 hour', since = now(), tries = 0, misses = 0
where tenant = $1 and state = 'refused';
