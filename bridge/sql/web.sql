-- What the admin's page shows. Every query is bounded: the page is looked at while telephones ring. A count stops at
-- its limit, and is then shown with a plus.

-- name: sources
-- $2: where counts stop. Those of the configuration, and those that left it and still hold contacts.
select s.tenant, s.name, s.type, s.contacts, s.tried_at, s.read_at, s.full_at, s.changed_at, s.error, s.failing_since,
       s.failures, s.denied, s.notes, h.held, h.held_since, u.unreadable
from source s
cross join lateral (
    select count(*)::int as held, min(since) as held_since
    from (select since from held where tenant = s.tenant and source = s.name limit $2) h) h
cross join lateral (
    select count(*)::int as unreadable
    from (select from unreadable where tenant = s.tenant and source = s.name limit $2) u) u
where s.tenant = any($1::text[]) and (s.rank <> 32767 or s.contacts > 0)
order by s.tenant, s.rank, s.name;

-- name: sinks
-- $3: where counts stop. By the indexes of what is not clean: all the rest of the entries, which may be a million, is
-- not read. Beyond the limit `since` is that of the pushes that are tried first.
select n.tenant, n.name, s.ok_at, coalesce(s.error, '') as error, s.failing_since, coalesce(s.denied, '') as denied,
       w.waiting, w.waiting_since, r.refused
from unnest($1::text[], $2::text[]) as n (tenant, name)
left join sink s on s.tenant = n.tenant and s.name = n.name
cross join lateral (
    select count(*)::int as waiting, min(since) as waiting_since
    from ((select since from entry where tenant = n.tenant and sink = n.name and state in ('due', 'sent')
           order by due_at limit $3)
          union all
          (select since from extension where tenant = n.tenant and sink = n.name and state in ('due', 'sent')
           order by due_at limit $3)) owed) w
cross join lateral (
    select count(*)::int as refused
    from ((select from entry where tenant = n.tenant and sink = n.name and state = 'refused' limit $3)
          union all
          (select from extension where tenant = n.tenant and sink = n.name and state = 'refused' limit $3)) left_) r;

-- name: worst
-- Which of the tenants $1, whose sinks are $3 of $2, fail (2) or want to be looked at (1), the worst $4; $5: the seconds
-- that a push may wait. Each also with how many there are of both kinds.
with concern as (
    select tenant, 2 as weight from source where rank <> 32767 and error <> ''
    union all
    select tenant, 2 from unnest($2::text[], $3::text[]) as n (tenant, name) join sink s using (tenant, name)
    where s.error <> '' or s.denied <> ''
    union all
    select tenant, 1 from source where rank = 32767 and contacts > 0
    union all
    select distinct tenant, 1 from held
    union all
    select distinct tenant, 1 from entry where state = 'refused'
    union all
    select distinct tenant, 1 from extension where state = 'refused'
    union all
    select distinct tenant, 1 from entry
    where state in ('due', 'sent') and since < now() - $5::float8 * interval '1 second'
    union all
    select distinct tenant, 1 from workflow_call where state = 'failed'
), weighed as (
    select tenant, max(weight) as weight, count(*) as concerns
    from concern where tenant = any($1::text[]) group by tenant
)
select tenant, (sum((weight = 2)::int) over ())::int as failing, (sum((weight = 1)::int) over ())::int as attention
from weighed order by weight desc, concerns desc, tenant limit $4;

-- name: failed_workflows
select tenant, count(*)::int as failed from workflow_call
where tenant = any($1::text[]) and state = 'failed' group by tenant;

-- name: runs
-- The newest $5 runs of each source since $3, summed up in slots of $4 seconds.
select n.name, r.slot, r.runs, r.added, r.changed, r.removed, r.seconds, r.failed
from unnest($2::text[]) as n (name)
cross join lateral (
    select floor(extract(epoch from started_at - $3::timestamptz) / $4::float8)::int as slot, count(*)::int as runs,
           sum(added)::bigint as added, sum(changed)::bigint as changed, sum(removed)::bigint as removed,
           max(seconds) as seconds, count(*) filter (where error <> '')::int as failed
    from (select started_at, added, changed, removed, seconds, error from run
          where tenant = $1 and source = n.name and started_at >= $3 order by started_at desc limit $5) newest
    group by slot) r
order by n.name, r.slot;

-- name: last_runs
select source, started_at, seconds, "full", read, added, changed, removed, unchanged, refused, held, error
from run where tenant = $1 and source = $2 order by started_at desc limit $3;

-- name: unreadable
select id, reason, since from unreadable where tenant = $1 and source = $2 order by id limit $3;

-- name: one_moment
set transaction isolation level repeatable read;

-- name: holds
select source, count(*)::int as losses, min(since) as since from held where tenant = $1 group by source order by source;

-- name: mark
-- Another one as soon as the list is.
select md5(string_agg(concat_ws(E'\x1f', id, loss, encode(checksum, 'hex')), E'\n' order by id))
from held where tenant = $1 and source = $2;

-- name: losses
-- A page of the list: $4 behind the id $3.
select h.id, h.loss, h.since, c.body, concat_ws(' ', u.body ->> 'first_name', u.body ->> 'last_name') as "user"
from held h
left join contact c on c.tenant = h.tenant and c.source = h.source and c.id = h.id
left join crm_user u on u.tenant = h.tenant and u.source = h.source and 'user:' || u.id = h.id and h.loss = 'extension'
where h.tenant = $1 and h.source = $2 and h.id > $3
order by h.id limit $4;

-- name: show
update held set shown = true where tenant = $1 and source = $2;

-- name: refused_entries
select e.sink, e.number, e.code, e.reason, e.since, c.body from entry e
left join contact c on c.tenant = e.tenant and c.pk = e.contact
where e.tenant = $1 and e.sink = $2 and e.state = 'refused' limit $3;

-- name: refused_extensions
select sink, number, code, reason, since, wanted from extension
where tenant = $1 and sink = $2 and state = 'refused' limit $3;

-- name: refused_workflows
select workflow, action, source, told, code, reason, asked_at as since from workflow_call
where tenant = $1 and state = 'failed' order by asked_at desc limit $2;

-- name: workflows
select workflow, action, source, told, state, asked_at, done_at, tries, made_id, made_url, code, reason
from workflow_call where tenant = $1 order by asked_at desc limit $2;

-- name: entries
select e.sink, e.number, e.state, e.acked, e.code, e.reason, c.body
from entry e left join contact c on c.tenant = e.tenant and c.pk = e.contact
where e.tenant = $1 and e.sink = any($2::text[]) and e.number = any($3::text[])
order by e.sink, array_position($3::text[], e.number);

-- name: books
select name, contacts, changed_at, read_at is not null as read from source where tenant = $1;

-- name: accounts
-- A page of them: $3 behind the user name $2.
select username, details, disabled, changed_at from account
where tenant = $1 and username > $2 order by username limit $3;

-- name: devices
select username, device, given, given_at from device
where tenant = $1 and username = any($2::text[]) order by username, given_at desc, device;
