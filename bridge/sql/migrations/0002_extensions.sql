-- One row a user of a CRM who has a telephone, as that CRM said (body: contact.User).
create table crm_user (
    tenant      text not null,
    source      text not null,
    id          text not null,
    body        json not null,
    primary key (tenant, source, id)
);

-- What a sink should hold and does hold for each extension; what differs is owed to it.
-- state: clean | due (a push is owed) | sent (sent, not yet answered for) | refused (until it changes).
create table extension (
    tenant      text not null,
    sink        text not null,
    number      text not null,
    wanted      json,                               -- null: nobody has it
    acked       json,                               -- null: it is not there; {}: it is, and holds we know not what
    sent        json,                               -- what was sent, while its answer is not in; {}: a delete
    state       text not null,
    since       timestamptz not null,               -- when it became due
    due_at      timestamptz not null,
    tries       integer not null default 0,
    code        text not null default '',
    reason      text not null default '',
    primary key (tenant, sink, number)
);
create index extension_due on extension (tenant, sink, due_at) where state in ('due', 'sent');
