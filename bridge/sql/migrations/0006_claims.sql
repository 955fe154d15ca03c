-- Which working process works for which tenant.
create table daemon (
    id          text not null,
    place       text not null,
    lasting     boolean not null,
    wants       integer not null default 0,
    has         integer not null default 0,
    beat_at     timestamptz not null default now(),
    primary key (id)
);
create table owner (
    tenant      text not null,
    daemon      text,
    since       timestamptz not null default now(),
    primary key (tenant)
);
create index owner_daemon on owner (daemon);

-- Databases of an early version 3 lack it.
create index if not exists workflow_call_asked on workflow_call (tenant, asked_at);
