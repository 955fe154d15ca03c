-- Counts that only grow.

-- name: add
insert into total as t (tenant, subject, name, event, count)
select $1, $2, $3, e.event, e.count from unnest($4::text[], $5::bigint[]) as e (event, count)
where e.count > 0 order by e.event
on conflict (tenant, subject, name, event) do update set count = t.count + excluded.count;
