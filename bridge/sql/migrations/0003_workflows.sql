-- One row a call that a workflow was asked for; kept for a day after it is done, so that asking again makes nothing.
-- state: due | doing (until due_at, then somebody else's) | done | failed (until it is tried again by hand).
create table workflow_call (
    tenant      text not null,
    key         text not null,                      -- of workflow, contact, both numbers and when the call began
    workflow    text not null,
    action      text not null,                      -- log-call | ticket | task | note | webhook
    source      text not null,                      -- where it is done; "": nowhere but at the webhook
    told        json not null,                      -- calls.Told
    contact     text not null,                      -- the id in the CRM
    contact_url text not null,
    state       text not null,
    asked_at    timestamptz not null,
    due_at      timestamptz not null,
    done_at     timestamptz,
    tries       integer not null default 0,
    made_id     text not null default '',
    made_url    text not null default '',
    code        text not null default '',
    reason      text not null default '',
    primary key (tenant, key)
);
create index workflow_call_due on workflow_call (due_at) where state in ('due', 'doing');
create index workflow_call_asked on workflow_call (tenant, asked_at);
