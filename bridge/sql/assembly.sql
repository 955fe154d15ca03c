-- The sources as configured.

-- name: enrol
insert into source as s (tenant, name, type, rank)
select $1, n.name, n.type, n.rank - 1
from unnest($2::text[], $3::text[]) with ordinality as n (name, type, rank)
on conflict (tenant, name) do update set type = excluded.type, rank = excluded.rank
where (s.type, s.rank) is distinct from (excluded.type, excluded.rank);

-- name: retire
update source set rank = 32767, error = '', failing_since = null, denied = false, due_at = null
where tenant = $1 and name <> all($2::text[]) and rank <> 32767;

-- name: forget_empty
-- What left the file and holds nothing is no source any more.
delete from source s where s.tenant = $1 and s.rank = 32767
and not exists (select from contact c where c.tenant = $1 and c.source = s.name);
