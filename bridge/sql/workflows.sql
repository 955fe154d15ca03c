-- What the CONNECTOR asks for after a call.

-- name: ask
-- Once a call: asked again, what stands there is left alone, unless it failed or is older than a day. Whoever works is
-- told on channel $8.
with asked as (
    insert into workflow_call as w
        (tenant, key, workflow, action, source, told, contact, contact_url, state, asked_at, due_at)
    values ($1, $2, $3, $4, $5, $6::text::json, $7,
            coalesce((select body ->> 'contact_url' from contact where tenant = $1 and source = $5 and id = $7), ''),
            'due', now(), now())
    on conflict (tenant, key) do update
    set workflow = excluded.workflow, action = excluded.action, source = excluded.source, told = excluded.told,
        contact = excluded.contact, contact_url = excluded.contact_url, state = 'due', asked_at = now(), due_at = now(),
        done_at = null, tries = 0, made_id = '', made_url = '', code = '', reason = ''
    where w.state = 'failed' or (w.state = 'done' and w.done_at < now() - interval '1 day')
)
select pg_notify($8, '');

-- name: outcome
select state, made_id, made_url from workflow_call where tenant = $1 and key = $2;
