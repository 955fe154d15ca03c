-- When sources are due.

-- name: states
-- What the sources of these tenants were last seen to do, in seconds ago by the database's clock.
select tenant, name, rules, failures, denied,
       extract(epoch from now() - tried_at)::float8 as tried, extract(epoch from now() - full_at)::float8 as "full"
from source where tenant = any($1::text[]) and rank <> 32767;
