-- All of today's tables. Every key begins with the tenant, so that nobody's rows meet another's and so that a
-- distributed PostgreSQL can split the tables by it. Times are timestamptz.

create sequence contact_pk as bigint cache 64;

-- One row a source: how fresh it is, where its next delta begins, why it fails.
create table source (
    tenant      text not null,
    name        text not null,
    type        text not null default '',
    rank        smallint not null default 32767,    -- place in the file; 32767: no longer configured
    cursor      json,                               -- null: the next run reads in full
    rules       bytea not null default '',          -- the rules that the records were normalised by
    contacts    integer not null default 0,
    unreadable  integer not null default 0,         -- numbers kept as written that are no numbers
    tried_at    timestamptz,
    read_at     timestamptz,                        -- last run that read all it set out to read
    full_at     timestamptz,
    changed_at  timestamptz,
    error       text not null default '',
    failing_since timestamptz,
    failures    integer not null default 0,         -- runs in a row
    denied      boolean not null default false,     -- credentials refused: probes only
    due_at      timestamptz,                        -- when the daemon looks again
    notes       text[] not null default '{}',       -- what the last run had to say
    primary key (tenant, name)
);

-- One row a contact. body is contact.dump(): what callers are answered.
create table contact (
    tenant      text not null,
    pk          bigint not null,
    source      text not null,
    id          text not null,                      -- the id in the CRM
    version     text not null default '',           -- the server's own mark (ETag)
    digest      bytea not null,                     -- of the record as read
    checksum    bytea not null,                     -- of the contact
    names       bigint not null,                    -- of what a PBX shows: names and company
    named       boolean not null,
    callable    smallint not null,                  -- numbers with a key
    changed_at  timestamptz not null,
    body        json not null,
    primary key (tenant, pk),
    unique (tenant, source, id)
);

-- One row a number that can be asked for. number: E.164 with its plus, or dialable characters.
create table number (
    tenant      text not null,
    number      text not null,
    contact     bigint not null,
    kind        text not null,
    company     boolean not null,                   -- the company's own, not the person's
    primary key (tenant, number, contact)
);

-- Records that the source has and that could not be read; their last good contact is kept.
create table unreadable (
    tenant      text not null,
    source      text not null,
    id          text not null,
    version     text not null,
    reason      text not null,
    since       timestamptz not null default now(),
    primary key (tenant, source, id)
);

-- Removed contacts, restorable for 7 days.
create table removed (
    tenant      text not null,
    source      text not null,
    id          text not null,
    removed_at  timestamptz not null,
    version     text not null,
    digest      bytea not null,
    checksum    bytea not null,
    names       bigint not null,
    named       boolean not null,
    callable    smallint not null,
    changed_at  timestamptz not null,
    body        json not null,
    primary key (tenant, source, id)
);

-- Losses that wait for approval. loss: removed | number | name (the new row stands here for these two) | extension (a
-- user of the CRM would lose it; the id is user:<id>).
create table held (
    tenant      text not null,
    source      text not null,
    id          text not null,
    loss        text not null,
    shown       boolean not null default false,     -- stood in a list that the admin was shown
    since       timestamptz not null,
    version     text,
    digest      bytea,
    checksum    bytea,
    names       bigint,
    named       boolean,
    callable    smallint,
    modified    timestamptz,
    body        json,
    primary key (tenant, source, id)
);

-- One row a run. lost: losses that it let through by itself, which count for a day.
create table run (
    tenant      text not null,
    source      text not null,
    started_at  timestamptz not null,
    seconds     real not null,
    "full"      boolean not null,
    read        integer not null,
    added       integer not null,
    changed     integer not null,
    removed     integer not null,
    unchanged   integer not null,
    refused     integer not null,
    lost        integer not null,
    held        integer not null,
    error       text not null default '',
    primary key (tenant, source, started_at)
);

-- One row a sink.
create table sink (
    tenant      text not null,
    name        text not null,
    policy      text not null default '',           -- what the entries were computed with: sources, spelling
    ok_at       timestamptz,                        -- last answer that did what was asked
    error       text not null default '',
    failing_since timestamptz,
    denied      text not null default '',           -- the PBX's code where it refuses the key
    probes      integer not null default 0,
    due_at      timestamptz,
    primary key (tenant, name)
);

-- How often what happened, for the metrics: counts that only grow, whatever else is pruned.
-- subject: source | sink; event: run.<result>, record.<change>, push.<result>.
create table total (
    tenant      text not null,
    subject     text not null,
    name        text not null,
    event       text not null,
    count       bigint not null,
    primary key (tenant, subject, name, event)
);

-- What a sink should hold and does hold for each number; the outbox is where the two differ.
-- state: clean | due (a push is owed) | sent (sent, not yet answered for: settle it first) | moving (goes with
-- another number's push) | refused (until it changes).
create table entry (
    tenant      text not null,
    sink        text not null,
    number      text not null,
    contact     bigint,                             -- who owns it; null: nobody, it should not be there
    kind        text,
    names       bigint,
    acked       json,                               -- the entry that the PBX acknowledged; null: none
    acked_contact bigint,
    acked_kind  text,
    acked_names bigint,
    sent        json,                               -- the entry last sent, while its answer is not in
    moved_from  text,                               -- the number whose entry that push renames
    state       text not null,
    since       timestamptz not null,               -- when it became due
    due_at      timestamptz not null,
    sent_at     timestamptz,
    tries       integer not null default 0,
    misses      integer not null default 0,         -- times in a row that the PBX failed to find or change it
    code        text not null default '',
    reason      text not null default '',
    primary key (tenant, sink, number)
);
create index entry_due on entry (tenant, sink, due_at) where state in ('due', 'sent');
create index entry_gone on entry (tenant, sink, acked_contact) where state = 'due' and contact is null;
create index entry_refused on entry (tenant, sink) where state = 'refused';

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

-- A number for every state that an account ever was in: none comes twice, though an account be deleted and made anew.
create sequence account_version as bigint;

-- One row a softphone user. Neither password stands here: login is Argon2id, sealed is AES-GCM.
create table account (
    tenant      text not null,
    username    text not null,
    login       text not null,
    sealed      bytea not null,                     -- the SIP password
    details     json not null,                      -- accounts.Details
    disabled    boolean not null default false,
    version     bigint not null default nextval('account_version'),
    changed_at  timestamptz not null default now(),
    primary key (tenant, username)
);

-- What a softphone's installation was last given.
create table device (
    tenant      text not null,
    username    text not null,
    device      text not null,                      -- the id that it gave itself
    given       json not null,                      -- the SIP accounts, without their passwords
    mark        bytea not null,                     -- keyed hash of all that was given; '': nothing
    given_at    timestamptz not null default now(),
    primary key (tenant, username, device)
);

-- Who was erased and is kept out: salted hashes of numbers, addresses and ids.
create table salt (
    tenant      text not null,
    salt        bytea not null,
    primary key (tenant)
);
create table forgotten (
    tenant      text not null,
    hash        bytea not null,
    since       timestamptz not null,
    primary key (tenant, hash)
);

-- One row a working process that is alive, or was until beat_at. The only table that is no tenant's.
create table daemon (
    id          text not null,                      -- what its sessions are called (application_name)
    place       text not null,                      -- machine and process, for its neighbours to see that it is gone
    lasting     boolean not null,                   -- a daemon, and no command that works for a while
    wants       integer not null default 0,         -- tenants in its configuration
    has         integer not null default 0,         -- tenants that it works for
    beat_at     timestamptz not null default now(),
    primary key (id)
);

-- Who works for a tenant: runs its sources, drains its sinks, does its workflows. daemon null: nobody yet.
create table owner (
    tenant      text not null,
    daemon      text,
    since       timestamptz not null default now(),
    primary key (tenant)
);
create index owner_daemon on owner (daemon);

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
