-- What admins ask after: how the sources and sinks fare, what was refused, what stands for a number.

-- name: sources
-- Those of the configuration, and those that left it and still hold contacts.
select s.tenant, s.name, s.type, s.rank <> 32767 as configured, s.contacts, s.tried_at, s.read_at, s.full_at,
       s.changed_at, s.error, s.failing_since, s.failures, s.denied, s.notes, h.held, h.held_since
from source s
cross join lateral (select count(*)::int as held, min(since) as held_since
                    from held where tenant = s.tenant and source = s.name) h
where s.tenant = any($1::text[]) and (s.rank <> 32767 or s.contacts > 0)
order by array_position($1::text[], s.tenant), s.rank, s.name;

-- name: unreadable
select tenant, source, id, reason, since from unreadable where tenant = any($1::text[]) order by tenant, source, since, id;

-- name: sinks
select n.tenant, n.name, s.ok_at, coalesce(s.error, '') as error, s.failing_since, coalesce(s.denied, '') as denied,
       e.waiting, e.waiting_since, e.refused
from unnest($1::text[], $2::text[]) as n (tenant, name)
left join sink s on s.tenant = n.tenant and s.name = n.name
cross join lateral (
    select count(*) filter (where state <> 'refused')::int as waiting,
           min(since) filter (where state <> 'refused') as waiting_since,
           count(*) filter (where state = 'refused')::int as refused
    from (select state, since from entry where tenant = n.tenant and sink = n.name and state in ('due', 'sent')
          union all
          select state, since from entry where tenant = n.tenant and sink = n.name and state = 'refused'
          union all
          select state, since from extension where tenant = n.tenant and sink = n.name and state <> 'clean') owed) e;

-- name: refused
-- Those of the tenants $1 of which anything is refused.
select tenant from entry where tenant = any($1::text[]) and state = 'refused'
union select tenant from extension where tenant = any($1::text[]) and state = 'refused'
union select tenant from workflow_call where tenant = any($1::text[]) and state = 'failed';

-- name: entries
select e.sink, e.number, e.state, e.since, e.acked, e.code, e.reason, e.tries, c.source, c.id, c.body
from entry e left join contact c on c.tenant = e.tenant and c.pk = e.contact
where e.tenant = $1 and e.number = any($2::text[])
order by e.sink, array_position($2::text[], e.number);
