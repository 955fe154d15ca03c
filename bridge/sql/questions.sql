-- What is asked while a telephone rings.

-- name: find
-- The contacts of many numbers, each with its tenant, and so many of each at most: in the order of the numbers, then of
-- the rule (sources as configured, people before companies, the newest). Each number is looked up as its tenant, whose
-- rows are then the only ones, until the query ends.
select q.n, x.source, x.body
from (
    select n, number, set_config('bridge.tenant', tenant, true) as tenant
    from unnest($1::text[], $2::text[]) with ordinality as a (tenant, number, n) offset 0
) q
cross join lateral (
    select c.source, c.id, c.body, coalesce(s.rank, 32767) as rank, m.company, c.changed_at
    from number m
    -- "offset 0" keeps the tables in this order, whatever the planner knows of them.
    cross join lateral (
        select c.source, c.id, c.body, c.changed_at from contact c where c.tenant = m.tenant and c.pk = m.contact offset 0
    ) c
    left join lateral (
        select s.rank from source s where s.tenant = m.tenant and s.name = c.source offset 0
    ) s on true
    where m.tenant = q.tenant and m.number = q.number
    order by rank, m.company, c.changed_at desc, c.id
    limit $3::int
) x;

-- name: plan_once
-- A question takes less time than its plan.
set plan_cache_mode = force_generic_plan;

-- name: plan_anew
-- A plan made while the tables were empty may read all of them.
discard plans;

-- name: by_index
set enable_seqscan = off;

-- name: no_bitmaps
set enable_bitmapscan = off;
