-- What Prometheus is told of the work that others do.

-- name: sources
select s.tenant, s.name, s.contacts, coalesce(extract(epoch from s.read_at), 0)::float8 as last_good,
       (select count(*)::int from held h where h.tenant = s.tenant and h.source = s.name) as held
from source s;

-- name: totals
select tenant, subject, name, event, count from total;

-- name: sinks
select s.tenant, s.name, s.denied <> '' as stopped,
       count(e.number) filter (where e.state <> 'refused') as waiting,
       count(e.number) filter (where e.state = 'refused') as refused,
       coalesce(extract(epoch from now() - min(e.since) filter (where e.state <> 'refused')), 0)::float8 as oldest
from sink s
left join entry e on e.tenant = s.tenant and e.sink = s.name and e.state <> 'clean'
group by s.tenant, s.name, s.denied;
