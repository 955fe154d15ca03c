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
