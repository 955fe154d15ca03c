"""What happens in the sample CRM while one watches: numbers and names change, people come and go."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from bridge import numbers
from bridge.demo.dav import Book
from bridge.demo.manager import Manager
from bridge.demo.sample import Person

REGION = "LU"
_NEWCOMER = "newcomer.vcf"


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened to the book, told in a sentence, and how to see that the Manager knows."""

    told: str
    known: Callable[[Manager], bool]


def entries(person: Person) -> set[str]:
    """The numbers of a person as the Manager spells them."""
    fields = f"{person.work},{person.cell}".split(",")
    keys = [key for field in fields if field.strip() for key in numbers.read(field.strip(), REGION)]
    return {numbers.spell(key, "digits", REGION) for key in keys}


def endless(book: Book, people: dict[str, Person]) -> Iterator[Change]:
    """Change the book with every step; in turn a number, a name, somebody new, somebody who leaves."""
    named = [file for file, person in people.items() if person.first and person.cell]
    for n, file in enumerate(itertools.cycle(named)):
        kind = (_move, _marry, _arrive, _leave)[n % 4]
        yield kind(book, people, file, n)


def _put(book: Book, people: dict[str, Person], file: str, person: Person) -> None:
    people[file] = person
    book.put(file, person.vcard())


def _move(book: Book, people: dict[str, Person], file: str, n: int) -> Change:
    before = people[file]
    after = replace(before, cell=f"621 001 {n % 1000:03}")
    _put(book, people, file, after)
    left, come = entries(before) - entries(after), entries(after)
    told = f"{before.name}'s mobile number is no longer {before.cell}, but {after.cell}"
    return Change(told, lambda manager: come <= (held := set(manager.book())) and not left & held)


def _marry(book: Book, people: dict[str, Person], file: str, n: int) -> Change:
    before = people[file]
    other = list(people.values())[n % len(people)].last or "Reuter"
    after = replace(before, last=f"{before.last.split('-')[0]}-{other.split('-')[0]}")
    _put(book, people, file, after)
    return Change(f"{before.name} is now called {after.name}", lambda manager: _called(manager, after))


def _arrive(book: Book, people: dict[str, Person], file: str, n: int) -> Change:
    person = Person("Nora", "Reuter", people[file].company, "", f"691 001 {n % 1000:03}")
    _put(book, people, _NEWCOMER, person)
    return Change(f"{person.name}, {person.cell}, is new", lambda manager: _called(manager, person))


def _leave(book: Book, people: dict[str, Person], file: str, n: int) -> Change:
    person = people.pop(_NEWCOMER)
    book.delete(_NEWCOMER)
    left = entries(person)
    return Change(f"{person.name} has left", lambda manager: not left & set(manager.book()))


def _called(manager: Manager, person: Person) -> bool:
    held = manager.book()
    return all(held.get(number, ())[:2] == (person.first, person.last) for number in entries(person))
