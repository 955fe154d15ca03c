-- What decides a lookup, for people.

-- name: ends_with
-- The numbers of a contact that have these last digits.
select m.number from number m join contact c on c.tenant = m.tenant and c.pk = m.contact
where m.tenant = $1 and c.source = $2 and c.id = $3 and right(m.number, length($4)) = $4 order by m.number;
