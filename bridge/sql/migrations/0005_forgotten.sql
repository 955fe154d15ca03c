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
