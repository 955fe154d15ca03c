-- One run of one source: diff, judgement, commit.

-- name: analyze
analyze staged (n, id), staged_number (n), seen (id), gone (n, id);

-- name: diff_staged
-- The last word of each staged record, beside what is stored. fate: add | change | mark (only its mark is new).
insert into change
select s.n, s.id, s.version, s.digest, s.checksum, s.names, s.named, s.callable, s.modified, s.body,
       coalesce(c.pk, nextval('contact_pk')),
       case when c.pk is null then 'add' when c.checksum <> s.checksum then 'change' else 'mark' end,
       case when c.callable > 0 and s.callable = 0 then 'number' when c.named and not s.named then 'name' end, s.odd
from (select distinct on (id) * from staged order by id, n desc) s
left join contact c on c.tenant = $1 and c.source = $2 and c.id = s.id
where not exists (select from gone g where g.id = s.id and g.n > s.n);

-- name: diff_gone
-- What a delta run was told is gone.
insert into change (id, pk, fate, loss)
select c.id, c.pk, 'remove', 'removed'
from contact c
where c.tenant = $1 and c.source = $2
  and c.id in (select g.id from gone g where not exists (select from staged s where s.id = g.id and s.n >= g.n));

-- name: whole
-- All contacts of the source are looked at once: joined by hash, whatever is known of their number.
set local enable_nestloop = off;

-- name: by_key
set local enable_nestloop = on;

-- name: analyze_change
analyze change (n, id, pk, fate);

-- name: analyze_all
-- What has grown by more than a tenth since it was counted, or the next run's plans would rest on how things were.
do $$ begin
    if (select pg_relation_size(oid) > (relpages * 1.1 + 100) * 8192 from pg_class where oid = 'contact'::regclass) then
        analyze contact (tenant, source, id, pk), number (tenant, number, contact);
    end if;
    if (select pg_relation_size(oid) > (relpages * 1.1 + 100) * 8192 from pg_class where oid = 'entry'::regclass) then
        analyze entry (tenant, sink, number, state);
    end if;
end $$;

-- name: diff_absent
-- What a complete run did not see, but for ids with one of these beginnings.
insert into change (id, pk, fate, loss)
select c.id, c.pk, 'remove', 'removed'
from contact c
where c.tenant = $1 and c.source = $2
  and not exists (select from seen s where s.id = c.id)
  and not exists (select from bad b where b.id = c.id)
  and not exists (select from change x where x.id = c.id)
  and not exists (select from unnest($3::text[]) as s (beginning) where starts_with(c.id, s.beginning));

-- name: tally
select count(*) filter (where fate = 'add') as added,
       count(*) filter (where fate = 'change') as changed,
       count(*) filter (where fate = 'remove') as removed,
       count(*) filter (where fate = 'mark') as marked,
       count(*) filter (where loss is not null) as losses
from change;

-- name: lost_lately
-- What runs of the last day took away by themselves.
select coalesce(sum(lost), 0)::int from run where tenant = $1 and source = $2 and started_at > now() - interval '1 day';

-- name: holds_any
select exists (select from contact where tenant = $1 and source = $2);

-- name: count
select count(*)::int from contact where tenant = $1 and source = $2;

-- name: noted_count
select contacts from source where tenant = $1 and name = $2;

-- name: hold
-- Move the losses from the change to the list that waits; what waited before and is not lost any more, waits no more.
with loss as (
    delete from change where loss is not null returning *
), ended as (
    delete from held h
    where h.tenant = $1 and h.source = $2 and h.loss <> 'extension' and not exists (select from loss l where l.id = h.id)
)
insert into held (tenant, source, id, loss, since, version, digest, checksum, names, named, callable, modified, body)
select $1, $2, l.id, l.loss, now(),
       l.version, l.digest, l.checksum, l.names, l.named, l.callable, l.modified, l.body::json
from loss l
on conflict (tenant, source, id) do update
set shown = held.shown and held.loss = excluded.loss and held.checksum is not distinct from excluded.checksum,
    loss = excluded.loss, version = excluded.version, digest = excluded.digest, checksum = excluded.checksum,
    names = excluded.names, named = excluded.named, callable = excluded.callable, modified = excluded.modified,
    body = excluded.body;

-- name: newly_held
select exists (select from held where tenant = $1 and source = $2 and since = now());

-- name: end_hold
delete from held where tenant = $1 and source = $2 and loss <> 'extension';

-- name: would
-- For a dry run: what would change.
select x.fate, x.loss, x.id, x.body as body, c.body as old
from change x left join contact c on c.tenant = $1 and c.pk = x.pk
where x.fate <> 'mark' order by x.fate, x.id limit $2;

-- name: count_odd
-- Numbers that are none: those that come, less those that go.
insert into source as s (tenant, name, unreadable)
select $1, $2,
       coalesce(sum(coalesce(x.odd, json_array_length(x.body::json -> 'numbers') - x.callable)), 0)
       - coalesce(sum(json_array_length(c.body -> 'numbers') - c.callable), 0)
from change x left join contact c on c.tenant = $1 and c.pk = x.pk and x.fate in ('change', 'remove')
where x.fate <> 'mark'
on conflict (tenant, name) do update set unreadable = greatest(0, s.unreadable + excluded.unreadable);

-- name: odd
select unreadable from source where tenant = $1 and name = $2;

-- name: stage_old
-- The numbers that changed and removed contacts had.
insert into old_number
select x.pk, j.key
from change x
join contact c on c.tenant = $1 and c.pk = x.pk
cross join lateral json_to_recordset(c.body -> 'numbers') as j (key text)
where x.fate in ('change', 'remove') and j.key <> '';

-- name: analyze_old
-- Without counts the planner takes every contact to have a hundred numbers, and reads all that there are.
analyze old_number;

-- name: touch_old
insert into touched select number from old_number;

-- name: touch_new
-- The numbers that added and changed contacts get.
insert into touched
select s.number from change x join staged_number s on s.n = x.n where x.fate in ('add', 'change');

-- name: drop_numbers
delete from number n
using old_number o
where n.tenant = $1 and n.number = o.number and n.contact = o.contact;

-- name: keep_removed
-- Restorable for 7 days.
insert into removed
select c.tenant, c.source, c.id, now(), c.version, c.digest, c.checksum, c.names, c.named, c.callable, c.changed_at, c.body
from change x join contact c on c.tenant = $1 and c.pk = x.pk
where x.fate = 'remove'
on conflict (tenant, source, id) do update
set removed_at = excluded.removed_at, version = excluded.version, digest = excluded.digest,
    checksum = excluded.checksum, names = excluded.names, named = excluded.named, callable = excluded.callable,
    changed_at = excluded.changed_at, body = excluded.body;

-- name: remove
delete from contact c using change x where x.fate = 'remove' and c.tenant = $1 and c.pk = x.pk;

-- name: mark
update contact c set version = x.version, digest = x.digest
from change x where x.fate = 'mark' and c.tenant = $1 and c.pk = x.pk;

-- name: change
-- Changed when the CRM says so, where it names a later time than we have: of two that one run brings, the one that was
-- changed last wins a number that both have. Now, where it names none, or what changed is not the record itself.
update contact c
set version = x.version, digest = x.digest, checksum = x.checksum, names = x.names, named = x.named,
    callable = x.callable, body = x.body::json,
    changed_at = case when x.modified > c.changed_at then least(x.modified, now()) else now() end
from change x where x.fate = 'change' and c.tenant = $1 and c.pk = x.pk;

-- name: add
-- In the order of the change, which is that of the ids: sorting whole rows once more would cost a fifth more.
insert into contact (tenant, pk, source, id, version, digest, checksum, names, named, callable, changed_at, body)
select $1, pk, $2, id, version, digest, checksum, names, named, callable, least(coalesce(modified, now()), now()), body::json
from change where fate = 'add';

-- name: add_numbers
insert into number (tenant, number, contact, kind, company)
select $1, s.number, x.pk, s.kind, s.company
from change x join staged_number s on s.n = x.n
where x.fate in ('add', 'change')
order by s.number;

-- name: forget_removed
-- What came back is not removed any more; what is older than 7 days is gone for good.
delete from removed r
where r.tenant = $1 and r.source = $2
  and (r.removed_at < now() - interval '7 days'
       or exists (select from change x where x.fate = 'add' and x.id = r.id));

-- name: note_unreadable
insert into unreadable (tenant, source, id, version, reason)
select distinct on (id) $1, $2, id, version, reason from bad
on conflict (tenant, source, id) do update set version = excluded.version, reason = excluded.reason;

-- name: clear_unreadable
-- A record that was read, or is gone, is not unreadable any more ($3: the run was complete).
delete from unreadable r
where r.tenant = $1 and r.source = $2
  and not exists (select from bad b where b.id = r.id)
  and (exists (select from staged s where s.id = r.id)
       or exists (select from seen s where s.id = r.id and s.was_read)
       or exists (select from gone g where g.id = r.id)
       or ($3 and not exists (select from seen s where s.id = r.id)));

-- name: unreadable
select count(*)::int from unreadable where tenant = $1 and source = $2;

-- name: source
select * from source where tenant = $1 and name = $2;

-- name: done
-- The run is good: the cursor moves unless something is held.
insert into source as s (tenant, name, cursor, rules, contacts, tried_at, read_at, full_at, changed_at, notes)
values ($1, $2, $3::json, $4, $5, now(), now(), case when $6 then now() end, case when $7 then now() end, $8)
on conflict (tenant, name) do update
set cursor = excluded.cursor, rules = excluded.rules, contacts = excluded.contacts, tried_at = now(), read_at = now(),
    full_at = coalesce(excluded.full_at, s.full_at), changed_at = coalesce(excluded.changed_at, s.changed_at),
    notes = excluded.notes, error = '', failing_since = null, failures = 0, denied = false;

-- name: failed
-- The run changed nothing but this. Credentials that are refused begin a count of their own: the first probe comes
-- after a minute, however long the server had failed before.
insert into source as s (tenant, name, tried_at, error, failing_since, failures, denied)
values ($1, $2, now(), $3, now(), 1, $4)
on conflict (tenant, name) do update
set tried_at = now(), error = excluded.error, failing_since = coalesce(s.failing_since, now()),
    failures = case when excluded.denied and not s.denied then 1 else s.failures + 1 end, denied = excluded.denied;

-- name: log_run
insert into run (tenant, source, started_at, seconds, "full", read, added, changed, removed, unchanged, refused, lost, held, error)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
on conflict do nothing;

-- name: prune_runs
delete from run
where tenant = $1 and source = $2 and started_at < now() - interval '2 days'
  and started_at < (select started_at from run where tenant = $1 and source = $2
                    order by started_at desc offset 500 limit 1);

-- name: touched
select distinct number from touched limit $1;

-- name: changes
select count(*)::int from change;
