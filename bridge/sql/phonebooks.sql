-- Phone books, page by page.

-- name: one_moment
-- What a book shows is what was there when its first page was read.
set transaction isolation level repeatable read, read only;

-- name: page
select id, body from contact where tenant = $1 and source = $2 and id > $3 order by id limit $4;

-- name: moment
-- How sources stand. Every transaction that changes a contact sets changed_at, so that one look at a row is enough.
select name, changed_at, contacts, read_at is not null as read
from source where tenant = $1 and name = any($2::text[]) order by name;
