-- Held losses let through, removed contacts brought back.

-- name: stage_held
-- What the admin lets through: the losses that stood in a list shown, or all where none was shown.
with free as (
    select h.*, row_number() over () as n from held h
    where h.tenant = $1 and h.source = $2 and h.loss <> 'extension'
      and (h.shown or not exists (select from held o where o.tenant = $1 and o.source = $2 and o.shown))
), taken as (
    insert into gone select n, id from free where loss = 'removed'
), numbers as (
    insert into staged_number
    select f.n, j.key, j.kind, j.company
    from free f cross join lateral json_to_recordset(f.body -> 'numbers') as j (key text, kind text, company boolean)
    where f.loss <> 'removed' and j.key <> ''
)
insert into staged
select n, id, version, digest, checksum, names, named, callable, modified, body::text from free where loss <> 'removed';

-- name: release
delete from held h
where h.tenant = $1 and h.source = $2
  and (exists (select from gone g where g.id = h.id) or exists (select from staged s where s.id = h.id));

-- name: still_held
select count(*)::int from held where tenant = $1 and source = $2;

-- name: held
select h.id, h.loss, h.since, c.body, concat_ws(' ', u.body ->> 'first_name', u.body ->> 'last_name') as "user"
from held h
left join contact c on c.tenant = h.tenant and c.source = h.source and c.id = h.id
left join crm_user u on u.tenant = h.tenant and u.source = h.source and 'user:' || u.id = h.id and h.loss = 'extension'
where h.tenant = $1 and h.source = $2 order by h.loss, h.id;

-- name: show_held
update held set shown = true where tenant = $1 and source = $2;

-- name: stage_removed
-- Contacts removed since a time come back as they were.
with back as (
    select r.*, row_number() over () as n from removed r
    where r.tenant = $1 and r.source = $2 and r.removed_at >= $3
      and not exists (select from contact c where c.tenant = $1 and c.source = $2 and c.id = r.id)
), numbers as (
    insert into staged_number
    select b.n, j.key, j.kind, j.company
    from back b cross join lateral json_to_recordset(b.body -> 'numbers') as j (key text, kind text, company boolean)
    where j.key <> ''
)
insert into staged
select n, id, version, digest, checksum, names, named, callable, changed_at, body::text from back;
-- name: count_contacts
update source
set contacts = (select count(*) from contact where tenant = $1 and source = $2), changed_at = now()
where tenant = $1 and name = $2;

-- name: stage_all
insert into gone select row_number() over (), id from contact where tenant = $1 and source = $2;

-- name: stage_these
insert into gone
select row_number() over (), id from contact where tenant = $1 and source = $2 and id = any($3::text[]);

-- name: retired
select name from source where tenant = $1 and rank = 32767 order by name;
