-- Who a number belongs to, beside what `questions` asks while a telephone rings. {digits} is 7 to 10.

-- name: suffix_index
-- A column, and no index of an expression: that would not be used beside the policy on the table's rows, since a
-- function might tell what it saw of others'. The table is written anew, once, and locked meanwhile.
do $$ begin
    if to_regclass('number_tail_{digits}') is null then
        alter table number add column if not exists tail_{digits} text generated always as (
            case when number ~ '^[+]?[0-9]{{{digits},}}$' then right(number, {digits}) end
        ) stored;
        create index number_tail_{digits} on number (tenant, tail_{digits}) where tail_{digits} is not null;
    end if;
end $$;

-- name: by_suffix
-- Two contacts at most: one is an answer, two are none. A contact that has two such numbers is one.
select c.source, c.id, c.body, m.number
from (
    select n.contact, min(n.number) as number
    from number n
    where n.tenant = $1 and n.tail_{digits} = $2
    group by n.contact limit 2
) m
join contact c on c.tenant = $1 and c.pk = m.contact;

-- name: candidates
-- Everybody who has one of the numbers, by reading and in the order of the rule.
select q.n, m.number, m.kind, m.company, c.source, c.id, c.body, c.changed_at, s.read_at,
       coalesce(s.rank, 32767) as rank
from unnest($2::text[]) with ordinality as q (number, n)
join number m on m.tenant = $1 and m.number = q.number
join contact c on c.tenant = m.tenant and c.pk = m.contact
left join source s on s.tenant = c.tenant and s.name = c.source
order by q.n, rank, m.company, c.changed_at desc, c.id
limit $3;
