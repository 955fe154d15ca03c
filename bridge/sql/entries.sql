-- Who owns each number on each sink, so what that sink must be told.

-- name: analyze_touched
-- Few numbers are looked up one by one, many are joined at once: which it is to be is known only from counts. Tables
-- that have grown by more than a tenth since they were counted, in this very transaction perhaps, are counted first.
do $$ begin
    analyze touched (number);
    if (select pg_relation_size(oid) > (relpages * 1.1 + 100) * 8192 from pg_class where oid = 'contact'::regclass) then
        analyze contact (tenant, source, id, pk), number (tenant, number, contact);
    end if;
end $$;

-- name: settle_owners
-- The owners of the touched numbers: a person before a company's own number, the sink's order of sources ($3; "*": and
-- last those that left the configuration), the contact that changed last. What differs from what the sink acknowledged becomes due. A row whose push is under way
-- keeps its state: its answer decides what is due then. A refused row whose sent entry may be there is asked for.
merge into entry e
using (
    select distinct on (t.number) t.number, w.contact, w.kind, w.names
    from (select distinct number from touched) t
    left join (
        select n.number, n.contact, n.kind, n.company, s.rank, c.names, c.changed_at
        from number n
        join contact c on c.tenant = $1 and c.pk = n.contact
        left join source o on o.tenant = $1 and o.name = c.source
        left join unnest($3::text[]) with ordinality as s (name, rank) on s.name = c.source
        where n.tenant = $1 and (s.name is not null or (o.rank = 32767 and '*' = any($3::text[])))
    ) w on w.number = t.number
    order by t.number, w.company, w.rank nulls last, w.changed_at desc, w.contact
) s
on e.tenant = $1 and e.sink = $2 and e.number = s.number
when matched and s.contact is null and e.acked is null and e.sent is null
     and e.state not in ('sent', 'moving') then delete
when matched and (s.contact, s.kind, s.names) is not distinct from (e.contact, e.kind, e.names) then do nothing
when matched then update
set contact = s.contact, kind = s.kind, names = s.names,
    acked_contact = case when s.names = e.acked_names and s.kind = e.acked_kind then s.contact else e.acked_contact end,
    state = case when e.state in ('sent', 'moving') then e.state
                 when e.sent is not null then 'sent'
                 when e.acked is not null and s.names = e.acked_names and s.kind = e.acked_kind then 'clean'
                 else 'due' end,
    since = case when e.state in ('due', 'sent', 'moving') then e.since else now() end,
    due_at = case when e.state in ('sent', 'moving') then e.due_at else now() end,
    tries = 0, misses = 0, code = '', reason = ''
when not matched and s.contact is not null then
    insert (tenant, sink, number, contact, kind, names, state, since, due_at)
    values ($1, $2, s.number, s.contact, s.kind, s.names, 'due', now(), now());

-- name: stage_touched
create temp table if not exists touched (number text);
truncate touched;

-- name: touch_all
-- Every number of a tenant, and every one that the sink holds.
insert into touched
select number from number where tenant = $1 union select number from entry where tenant = $1 and sink = $2;

-- name: make_due
-- A new way of spelling: all that the sink holds is looked at again. What is due for its name stays due, should that
-- name come back.
update entry
set state = case when sent is null then 'due' else 'sent' end, acked_names = null,
    since = case when state = 'due' then since else now() end, due_at = case when state = 'due' then due_at else now() end
where tenant = $1 and sink = $2 and (state in ('clean', 'refused') or (state = 'due' and acked_names is not null));

-- name: policy
select policy from sink where tenant = $1 and name = $2;

-- name: set_policy
insert into sink (tenant, name, policy) values ($1, $2, $3)
on conflict (tenant, name) do update set policy = excluded.policy;
