-- Whole tenants, read into memory from one moment.

-- name: one_moment
set transaction isolation level repeatable read, read only;

-- name: all_of_it
-- Every row will be fetched: the first one need not come soon.
set local cursor_tuple_fraction = 1;

-- name: contacts
declare nearby_contacts no scroll cursor for
select tenant, pk, source, body from contact where tenant = any($1::text[]) and callable > 0 order by tenant, pk;

-- name: next_contacts
fetch 48 from nearby_contacts;

-- name: numbers
-- In the order of their characters, then of the rule: see `find` in questions.sql.
declare nearby_numbers no scroll cursor for
select m.tenant, m.number, m.contact
from number m
join contact c on c.tenant = m.tenant and c.pk = m.contact and c.callable > 0
left join source s on s.tenant = c.tenant and s.name = c.source
where m.tenant = any($1::text[])
order by m.tenant, m.number collate "C", coalesce(s.rank, 32767), m.company, c.changed_at desc, c.id;

-- name: next_numbers
fetch 150 from nearby_numbers;
