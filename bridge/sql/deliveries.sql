-- Which sinks are owed something.

-- name: due
-- Sinks with a push that is due, and that may be sent to: one step of the index from each place to the next, however
-- much each is owed. failing: the last that was tried there failed.
with recursive contacts as (
    (select tenant, sink from entry where state in ('due', 'sent') order by tenant, sink limit 1)
    union all
    select n.tenant, n.sink from contacts p cross join lateral (
        select e.tenant, e.sink from entry e
        where e.state in ('due', 'sent') and (e.tenant, e.sink) > (p.tenant, p.sink)
        order by e.tenant, e.sink limit 1) n
), extensions as (
    (select tenant, sink from extension where state in ('due', 'sent') order by tenant, sink limit 1)
    union all
    select n.tenant, n.sink from extensions p cross join lateral (
        select e.tenant, e.sink from extension e
        where e.state in ('due', 'sent') and (e.tenant, e.sink) > (p.tenant, p.sink)
        order by e.tenant, e.sink limit 1) n
)
select p.tenant, p.sink, coalesce(s.error, '') <> '' as failing
from (
    select c.tenant, c.sink from contacts c where exists (
        select from entry e where e.tenant = c.tenant and e.sink = c.sink
        and e.state in ('due', 'sent') and e.due_at <= now())
    union
    select c.tenant, c.sink from extensions c where exists (
        select from extension e where e.tenant = c.tenant and e.sink = c.sink
        and e.state in ('due', 'sent') and e.due_at <= now())
) p
left join sink s on s.tenant = p.tenant and s.name = p.sink
where s.due_at is null or s.due_at <= now();

-- name: recover_contacts
-- After a crash: what was sent to these sinks and not answered for is settled soon, yet not while the PBX may still
-- work on it ($3 seconds, a sink each). When it was sent is not known: it was marked so when it was taken.
update entry e set due_at = now() + r.wait * interval '1 second'
from unnest($1::text[], $2::text[], $3::float8[]) as r (tenant, sink, wait)
where e.tenant = r.tenant and e.sink = r.sink and e.state = 'sent';

-- name: recover_extensions
update extension e set due_at = now() + r.wait * interval '1 second'
from unnest($1::text[], $2::text[], $3::float8[]) as r (tenant, sink, wait)
where e.tenant = r.tenant and e.sink = r.sink and e.state = 'sent';
