-- Who was erased and is kept out.

-- name: all
select s.salt, f.hash from salt s join forgotten f on f.tenant = s.tenant where s.tenant = $1;

-- name: salt
insert into salt (tenant, salt) values ($1, $2) on conflict (tenant) do update set salt = salt.salt returning salt;

-- name: keep_out
insert into forgotten (tenant, hash, since) select $1, h, now() from unnest($2::bytea[]) h on conflict do nothing;

-- name: let_in
-- With them goes what was kept out for their sake, which was written down at the same time.
delete from forgotten f
where f.tenant = $1
  and f.since in (select o.since from forgotten o where o.tenant = $1 and o.hash = any($2::bytea[]));
