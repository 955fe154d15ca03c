-- A second lock beside the queries' own conditions: a session sees and writes the rows of the tenant that its setting
-- bridge.tenant names, "*" everybody's, without one nobody's; the tables' owner too. It is a "case" because the planner
-- then takes half of the rows to pass, whatever it knows of the tenants, and because it costs one look at the setting.
do $$
declare
    name text;
    mine constant text := 'case current_setting(''bridge.tenant'', true) when tenant then true when ''*'' then true else false end';
begin
    foreach name in array array[
        'source', 'contact', 'number', 'unreadable', 'removed', 'held', 'run', 'sink', 'total', 'entry', 'crm_user',
        'extension', 'workflow_call', 'account', 'device', 'salt', 'forgotten', 'owner'
    ] loop
        execute format('create policy tenant on %I using (%s)', name, mine);
        execute format('alter table %I enable row level security, force row level security', name);
    end loop;
end $$;

-- Matching by the last digits asks for a column now: see lookup.sql.
drop index if exists number_suffix_7, number_suffix_8, number_suffix_9, number_suffix_10;
