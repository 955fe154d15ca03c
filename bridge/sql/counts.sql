-- What Prometheus is told of the work that others do.

-- name: sources
select s.tenant, s.name, s.contacts, coalesce(extract(epoch from s.read_at), 0)::float8 as last_good,
       (s.error <> '')::int as failing, s.denied::int as denied,
       (select count(*)::int from held h where h.tenant = s.tenant and h.source = s.name) as held
from source s;

-- name: totals
select tenant, subject, name, event, count from total;

-- name: sinks
-- By the indexes of what is not clean: all the rest of the entries, which may be a million, is not read. A number that
-- goes with another one's push is not counted: that is one push. Extensions are few.
select s.tenant, s.name, (s.denied <> '')::int as stopped, (s.error <> '')::int as failing,
       w.waiting + x.waiting as waiting, r.refused + x.refused as refused,
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

-- name: workflows
select tenant, case when state in ('due', 'doing') then 'waiting' else state end as state, count(*)::int as calls
from workflow_call group by 1, 2;

-- name: all_sources
-- For many tenants: a row for each of the $1 sources that are the worst, and one (without names) for all others. Of all
-- sources: $3 of the tenants $2, to be read every $4 seconds; $5: the seconds beyond twice that after which it is late.
with state as (
    select n.tenant, n.name, n.every, coalesce(s.contacts, 0) as contacts,
           extract(epoch from s.read_at)::float8 as last_good, s.failing_since,
           coalesce(s.denied, false)::int as denied, (coalesce(s.error, '') <> '')::int as failing,
           coalesce(h.held, 0) as held,
           coalesce(extract(epoch from now() - s.read_at) > $5::float8 + 2 * n.every, true)::int as late
    from unnest($2::text[], $3::text[], $4::float8[]) as n (tenant, name, every)
    left join source s on s.tenant = n.tenant and s.name = n.name
    left join (select tenant, source, count(*)::int as held from held group by 1, 2) h
           on h.tenant = n.tenant and h.source = n.name
), ranked as (
    select *, row_number() over (
               order by denied desc, failing desc, failing_since, held desc, late desc, last_good nulls first,
                        tenant, name
           ) <= $1 and (denied = 1 or failing = 1 or held > 0 or late = 1) as listed
    from state
)
select tenant, name, contacts::bigint as contacts, coalesce(last_good, 0) as last_good, failing::bigint as failing,
       held::bigint as held, denied::bigint as denied, every
from ranked where listed
union all
select null, null, coalesce(sum(contacts), 0), coalesce(min(last_good), 0), coalesce(sum(failing), 0),
       coalesce(sum(held), 0), coalesce(sum(denied), 0), coalesce(max(every), 0)
from ranked where not listed;

-- name: all_sinks
-- The same for the sinks $3 of the tenants $2; $4: the seconds after which a push waits too long.
with owed as (
    select tenant, sink, count(*) filter (where state <> 'refused') as waiting,
           count(*) filter (where state = 'refused') as refused, min(since) filter (where state <> 'refused') as since
    from (select tenant, sink, state, since from entry where state in ('due', 'sent')
          union all select tenant, sink, state, since from entry where state = 'refused'
          union all select tenant, sink, state, since from extension where state <> 'clean') e
    group by tenant, sink
), state as (
    select n.tenant, n.name, (coalesce(s.denied, '') <> '')::int as stopped,
           (coalesce(s.error, '') <> '')::int as failing, coalesce(o.waiting, 0) as waiting,
           coalesce(o.refused, 0) as refused,
           coalesce(extract(epoch from now() - o.since), 0)::float8 as oldest
    from unnest($2::text[], $3::text[]) as n (tenant, name)
    left join sink s on s.tenant = n.tenant and s.name = n.name
    left join owed o on o.tenant = n.tenant and o.sink = n.name
), ranked as (
    select *, row_number() over (
               order by stopped desc, failing desc, oldest desc, refused desc, tenant, name
           ) <= $1 and (stopped = 1 or failing = 1 or refused > 0 or oldest > $4::float8) as listed
    from state
)
select tenant, name, stopped::bigint as stopped, failing::bigint as failing, waiting, refused, oldest
from ranked where listed
union all
select null, null, coalesce(sum(stopped), 0), coalesce(sum(failing), 0), coalesce(sum(waiting), 0)::bigint,
       coalesce(sum(refused), 0)::bigint, coalesce(max(oldest), 0)
from ranked where not listed;

-- name: all_totals
select subject, event, sum(count)::bigint as count from total group by subject, event;
