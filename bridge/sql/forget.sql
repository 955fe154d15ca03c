-- A person erased: found, and gone.

-- name: contacts
-- Whose own number, or whose address, this is.
select c.source, c.id, c.body from contact c
where c.tenant = $1
  and (c.pk in (select n.contact from number n where n.tenant = $1 and n.number = any($2::text[]) and not n.company)
       or ($3 <> '' and exists (select from json_array_elements_text(c.body -> 'emails') e where lower(e) = $3)))
order by c.source, c.id;

-- name: removed
select r.source, r.id, r.body from removed r
where r.tenant = $1
  and (exists (select from json_to_recordset(r.body -> 'numbers') as j (key text, company boolean)
               where j.key = any($2::text[]) and not j.company)
       or ($3 <> '' and exists (select from json_array_elements_text(r.body -> 'emails') e where lower(e) = $3)))
order by r.source, r.id;

-- name: entries
-- What the sinks hold, or may hold, of these contacts; and of these numbers, unless it is somebody else's by now.
select e.sink, e.number from entry e
left join contact c on c.tenant = $1 and c.pk = e.contact
                    and (c.source, c.id) in (select * from unnest($3::text[], $4::text[]))
where e.tenant = $1 and (e.acked is not null or e.sent is not null)
  and (c.pk is not null or (e.number = any($2::text[]) and (e.contact is null or e.state <> 'clean')))
order by e.sink, e.number;

-- name: workflows
-- Calls with these contacts, and those whose number, however it is spelled, ends in the same digits as one of $2.
select key, workflow, told -> 'call' ->> 'number' as number,
       (source, contact) in (select * from unnest($3::text[], $4::text[])) as theirs
from workflow_call
where tenant = $1
  and (right(regexp_replace(told -> 'call' ->> 'number', '\D', '', 'g'), $5) = any($2::text[])
       or (source, contact) in (select * from unnest($3::text[], $4::text[])));

-- name: users
-- Users of CRMs, and accounts, with the devices of each; an account's own row here is `account`'s.
select source, id, body, null::json as details, '{}'::text[] as devices
from crm_user where tenant = $1 and source <> '@accounts'
union all
select '@accounts', a.username, null, a.details,
       array(select d.device from device d where d.tenant = a.tenant and d.username = a.username order by d.device)
from account a where a.tenant = $1
order by source, id;

-- name: extensions
-- What the sinks hold, or may hold, of these extensions. stays: nobody is told to take it away.
select sink, number, wanted is null and state = 'clean' as stays from extension
where tenant = $1 and number = any($2::text[]) and (acked is not null or sent is not null)
order by sink, number;

-- name: erase_copies
with gone_removed as (
    delete from removed where tenant = $1 and source = $2 and id = any($3::text[])
), gone_held as (
    delete from held where tenant = $1 and source = $2 and id = any($3::text[])
)
delete from unreadable where tenant = $1 and source = $2 and id = any($3::text[]);

-- name: erase_workflows
delete from workflow_call where tenant = $1 and key = any($2::text[]);

-- name: blank_extensions
-- That it is there is all that is kept of an extension which nobody has any more.
update extension set acked = '{}' where tenant = $1 and number = any($2::text[]) and acked is not null and wanted is null;
