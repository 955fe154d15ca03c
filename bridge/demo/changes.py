"""What happens in the sample CRM while one watches: numbers and names change, people come and go."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from bridge import numbers
from bridge.demo.crms import Crm
from bridge.demo.manager import Manager
from bridge.demo.sample import Person

REGION = "LU"
_NEWCOMER = "newcomer"


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened in the CRM, told in a sentence, and how to see that the Manager knows."""

    told: str
    known: Callable[[Manager], bool]


def entries(person: Person) -> set[str]:
    """The numbers of a person as the Manager spells them."""
    fields = f"{person.work},{person.cell}".split(",")
    keys = [key for field in fields if field.strip() for key in numbers.read(field.strip(), REGION)]
    return {numbers.spell(key, "digits", REGION) for key in keys}


def endless(crm: Crm, people: dict[str, Person]) -> Iterator[Change]:
    """Change the CRM with every step; in turn a number, a name, somebody new, somebody who leaves."""
    named = [key for key, person in people.items() if person.first and person.cell]
    for n, key in enumerate(itertools.cycle(named)):
        kind = (_move, _marry, _arrive, _leave)[n % 4]
        yield kind(crm, people, key, n)


def _put(crm: Crm, people: dict[str, Person], key: str, person: Person) -> None:
    people[key] = person
    crm.put_person(key, person)


def _move(crm: Crm, people: dict[str, Person], key: str, n: int) -> Change:
    before = people[key]
    after = replace(before, cell=f"621 001 {n % 1000:03}")
    _put(crm, people, key, after)
    left, come = entries(before) - entries(after), entries(after)
    told = f"{before.name}'s mobile number is no longer {before.cell}, but {after.cell}"
    return Change(told, lambda manager: come <= (held := set(manager.book())) and not left & held)


def _marry(crm: Crm, people: dict[str, Person], key: str, n: int) -> Change:
    before = people[key]
    other = list(people.values())[n % len(people)].last or "Reuter"
    after = replace(before, last=f"{before.last.split('-')[0]}-{other.split('-')[0]}")
    _put(crm, people, key, after)
    return Change(f"{before.name} is now called {after.name}", lambda manager: _called(manager, after))


def _arrive(crm: Crm, people: dict[str, Person], key: str, n: int) -> Change:
    person = Person("Nora", "Reuter", people[key].company, "", f"691 001 {n % 1000:03}")
    _put(crm, people, _NEWCOMER, person)
    return Change(f"{person.name}, {person.cell}, is new", lambda manager: _called(manager, person))


def _leave(crm: Crm, people: dict[str, Person], key: str, n: int) -> Change:
    person = people.pop(_NEWCOMER)
    crm.remove_person(_NEWCOMER)
    left = entries(person)
    return Change(f"{person.name} has left", lambda manager: not left & set(manager.book()))


def _called(manager: Manager, person: Person) -> bool:
    held = manager.book()
    return all(held.get(number, ())[:2] == (person.first, person.last) for number in entries(person))
