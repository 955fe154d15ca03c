-- Which extensions a sink should hold.

-- name: users
select id, body from crm_user where tenant = $1 and source = $2;

-- name: keep_users
insert into crm_user (tenant, source, id, body)
select $1, $2, u.id, u.body::json from unnest($3::text[], $4::text[]) as u (id, body)
on conflict (tenant, source, id) do update set body = excluded.body where crm_user.body::text <> excluded.body::text;

-- name: drop_users
delete from crm_user where tenant = $1 and source = $2 and id = any($3::text[]);

-- name: dismiss
delete from crm_user where tenant = $1 and source = $2;

-- name: hold_users
insert into held (tenant, source, id, loss, since)
select $1, $2, 'user:' || u.id, 'extension', now() from unnest($3::text[]) as u (id)
on conflict (tenant, source, id) do nothing;

-- name: end_hold
delete from held where tenant = $1 and source = $2 and loss = 'extension' and id <> all($3::text[]);

-- name: approved
-- The users whose loss stood in a list shown, or all where none was shown; they wait no more.
delete from held h
where h.tenant = $1 and h.source = $2 and h.loss = 'extension'
  and (h.shown or not exists (select from held o where o.tenant = $1 and o.source = $2 and o.shown))
returning substr(h.id, 6) as id;

-- name: all_users
-- Every user of these sources ($2; "*": and of those that left the configuration), the best source first: those that
-- left come behind it, and behind them the users that are only accounts'.
select u.body
from crm_user u
left join source o on o.tenant = u.tenant and o.name = u.source
left join unnest($2::text[]) with ordinality as s (name, rank) on s.name = u.source
where u.tenant = $1 and (s.name is not null or (o.rank = 32767 and '*' = any($2::text[])))
order by u.source = '@accounts', s.rank nulls last, u.id;

-- name: held_now
-- What a sink is known to hold and should.
select number, wanted, acked, sent, state, tries from extension where tenant = $1 and sink = $2 for update;

-- name: want
-- $4 null: nobody has the number any more. An extension whose push is under way keeps its state.
insert into extension (tenant, sink, number, wanted, state, since, due_at)
select $1, $2, w.number, w.wanted::json, w.state, now(), now()
from unnest($3::text[], $4::text[], $5::text[]) as w (number, wanted, state)
on conflict (tenant, sink, number) do update
set wanted = excluded.wanted, state = case when extension.state = 'sent' then 'sent' else excluded.state end,
    since = case when extension.state in ('due', 'sent') then extension.since else now() end,
    due_at = now(), tries = 0, code = '', reason = '';

-- name: forget
delete from extension where tenant = $1 and sink = $2 and number = any($3::text[]);
