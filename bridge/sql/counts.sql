-- What Prometheus is told of the work that others do.

-- name: sources
select s.tenant, s.name, s.contacts, coalesce(extract(epoch from s.read_at), 0)::float8 as last_good,
       (select count(*)::int from held h where h.tenant = s.tenant and h.source = s.name) as held
from source s;

-- name: totals
select tenant, subject, name, event, count from total;

-- name: sinks
-- By the indexes of what is not clean: all the rest of the entries, which may be a million, is not read. A number that
-- goes with another one's push is not counted: that is one push. Extensions are few.
select s.tenant, s.name, s.denied <> '' as stopped, w.waiting + x.waiting as waiting, r.refused + x.refused as refused,
       coalesce(extract(epoch from now() - least(w.since, x.since)), 0)::float8 as oldest
from sink s
cross join lateral (
    select count(*) as waiting, min(e.since) as since
    from entry e where e.tenant = s.tenant and e.sink = s.name and e.state in ('due', 'sent')
) w
cross join lateral (
    select count(*) as refused
    from entry e where e.tenant = s.tenant and e.sink = s.name and e.state = 'refused'
) r
cross join lateral (
    select count(*) filter (where e.state <> 'refused') as waiting, count(*) filter (where e.state = 'refused') as refused,
           min(e.since) filter (where e.state <> 'refused') as since
    from extension e where e.tenant = s.tenant and e.sink = s.name and e.state <> 'clean'
) x;
