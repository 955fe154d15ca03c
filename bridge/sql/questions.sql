-- What is asked while a telephone rings.

-- name: find
-- The contacts of each of many numbers, at most $3 of them for each, in the order of the rule: sources as configured,
-- people before companies, the newest.
select q.n, x.source, x.id, x.body
from unnest($1::text[], $2::text[], $3::int[]) with ordinality as q (tenant, number, most, n)
cross join lateral (
    select c.source, c.id, c.body, coalesce(s.rank, 32767) as rank, m.company, c.changed_at
    from number m
    join contact c on c.tenant = m.tenant and c.pk = m.contact
    left join source s on s.tenant = c.tenant and s.name = c.source
    where m.tenant = q.tenant and m.number = q.number
    order by 4, m.company, c.changed_at desc, c.id
    limit q.most
) x
order by q.n, x.rank, x.company, x.changed_at desc, x.id;

-- name: plan_once
-- A question takes less time than its plan; and the plan must not depend on how the tables looked when it was made.
set plan_cache_mode = force_generic_plan;

-- name: no_seqscan
set enable_seqscan = off;

-- name: no_hashjoin
set enable_hashjoin = off;

-- name: no_mergejoin
set enable_mergejoin = off;
