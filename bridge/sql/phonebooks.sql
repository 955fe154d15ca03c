-- Phone books, page by page.

-- name: one_moment
-- What a book shows is what was there when its first page was read.
set transaction isolation level repeatable read, read only;

-- name: page
select id, body from contact where tenant = $1 and source = $2 and id > $3 order by id limit $4;
