"""SOQL as the stand-in Salesforce reads it: the part that its page of reserved words and literals lets us be strict on.

`parse` knows grammar only; whether the names exist is for `salesforce_query`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple, NoReturn

Kind = Literal["text", "datetime", "date", "number", "boolean", "null"]

_TOKENS = re.compile(
    r"""(?P<space>\s+)
    |(?P<text>'(?:[^'\\]|\\.)*')
    |(?P<datetime>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,3})?(?:Z|[+-]\d\d:?\d\d))
    |(?P<date>\d{4}-\d\d-\d\d)(?![\dT])
    |(?P<number>[+-]?\d+(?:\.\d+)?)(?![\w-])
    |(?P<name>[A-Za-z]\w*(?:\.[A-Za-z]\w*)*)
    |(?P<sign><=|>=|!=|[=<>(),])""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\"}
_WORDS = {"select", "from", "where", "and", "or", "not", "in", "like", "order", "by", "limit", "null"}


class Failure(Exception):
    """A query that is refused: the code, and the text of the error body."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Token(NamedTuple):
    """One word or sign of a query, and where it stands."""

    kind: str
    text: str
    at: int


class Name(NamedTuple):
    """A field or a path through parents, and where it stands."""

    path: str
    at: int


class Value(NamedTuple):
    """A literal as it was written, without the quotes of a text."""

    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison: one value, except after IN and NOT IN."""

    name: Name
    operator: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Conditions that all (AND) or of which some (OR) must hold."""

    word: Literal["AND", "OR"]
    parts: tuple[Condition | Group, ...]


class Order(NamedTuple):
    """One key of ORDER BY."""

    name: Name
    descending: bool
    nulls_last: bool


@dataclass(frozen=True, slots=True)
class Statement:
    """A whole query; no names: it counts."""

    text: str
    names: tuple[Name, ...]
    object: Name
    where: Condition | Group | None
    order: tuple[Order, ...]
    limit: int | None

    def at(self, place: int, what: str) -> str:
        """The text of an error: the line, a mark below the place, the place, and what is wrong."""
        return marked(self.text, place, what)


def parse(text: str) -> Statement:
    """The statement; Failure MALFORMED_QUERY for whatever is not of the grammar."""
    return _Parser(text).statement()


def marked(text: str, place: int, what: str) -> str:
    """An error message as Salesforce lays it out."""
    return f"\n{text}\n{' ' * place}^\nERROR at Row:1:Column:{place + 1}\n{what}"


def unescaped(literal: str, *, pattern: bool = False) -> str:
    """What a text literal means; a pattern's result is a regular expression."""
    found = []
    for part in re.findall(r"\\u[0-9A-Fa-f]{4}|\\.|[^\\]", literal, re.DOTALL):
        if part[0] != "\\":
            wild = {"%": ".*", "_": "."}.get(part, re.escape(part))
            found.append(wild if pattern else part)
        elif pattern and part[1] in "%_":
            found.append(part[1])
        else:
            plain = chr(int(part[2:], 16)) if len(part) == 6 else _ESCAPES.get(part[1].lower())
            if plain is None:
                raise Failure("MALFORMED_QUERY", f"Illegal escape in a string literal: {part}")
            found.append(re.escape(plain) if pattern else plain)
    return "".join(found)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._split())
        self._next = 0

    def statement(self) -> Statement:
        self._word("select")
        names = self._selected()
        self._word("from")
        object = self._name()
        where = self._where() if self._take("where") else None
        order = self._orders() if self._take("order") else ()
        limit = self._limit() if self._take("limit") else None
        if (rest := self._peek()).kind != "end":
            self._unexpected(rest)
        return Statement(self._text, names, object, where, order, limit)

    def _split(self) -> list[Token]:
        found, at = [], 0
        while at < len(self._text):
            match = _TOKENS.match(self._text, at)
            if match is None:
                return self._unexpected(Token("sign", self._text[at], at))
            kind = str(match.lastgroup)
            if kind == "text" and "\n" in match.group():
                raise Failure("MALFORMED_QUERY", "Line breaks not allowed in string literals")
            if kind != "space":
                found.append(Token(kind, match.group(), at))
            at = match.end()
        return [*found, Token("end", "<EOF>", len(self._text))]

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _take(self, *texts: str) -> str:
        """The next word or sign, in lower case, if it is one of these."""
        token = self._peek()
        if token.kind not in ("name", "sign") or token.text.lower() not in texts:
            return ""
        self._next += 1
        return token.text.lower()

    def _word(self, *texts: str) -> str:
        return self._take(*texts) or self._unexpected(self._peek())

    def _unexpected(self, token: Token) -> NoReturn:
        raise Failure("MALFORMED_QUERY", marked(self._text, token.at, f"unexpected token: '{token.text}'"))

    def _name(self) -> Name:
        token = self._peek()
        if token.kind != "name" or token.text.lower() in _WORDS:
            self._unexpected(token)
        self._next += 1
        return Name(token.text, token.at)

    def _selected(self) -> tuple[Name, ...]:
        """The names of the columns; none for COUNT()."""
        names = [self._name()]
        if names[0].path.lower() == "count" and self._take("("):
            self._word(")")
            return ()
        while self._take(","):
            names.append(self._name())
        if double := {name.path.lower() for name in names if _among(name, names) > 1}:
            raise Failure("MALFORMED_QUERY", f"duplicate field selected: {min(double)}")
        return tuple(names)

    def _where(self) -> Condition | Group:
        """AND and OR never stand side by side without parentheses."""
        parts = [self._part()]
        word = self._take("and", "or")
        while word and parts:
            parts.append(self._part())
            if not self._take(word):
                break
        if len(parts) == 1:
            return parts[0]
        if self._peek().text.lower() in ("and", "or"):
            self._unexpected(self._peek())
        return Group("AND" if word == "and" else "OR", tuple(parts))

    def _part(self) -> Condition | Group:
        if self._take("("):
            inner = self._where()
            self._word(")")
            return inner
        name = self._name()
        operator = self._word("=", "!=", "<", "<=", ">", ">=", "like", "in", "not")
        if operator == "not":
            self._word("in")
            operator = "not in"
        if operator not in ("in", "not in"):
            return Condition(name, operator, (self._value(),))
        self._word("(")
        values = [self._value()]
        while self._take(","):
            values.append(self._value())
        self._word(")")
        return Condition(name, operator, tuple(values))

    def _value(self) -> Value:
        token = self._peek()
        self._next += 1
        match token.kind, token.text.lower():
            case "text", _:
                return Value("text", token.text[1:-1])
            case ("datetime" | "date" | "number") as kind, _:
                return Value(kind, token.text)
            case "name", ("true" | "false") as word:
                return Value("boolean", word)
            case "name", "null":
                return Value("null", "")
        return self._unexpected(token)

    def _orders(self) -> tuple[Order, ...]:
        self._word("by")
        orders = [self._order()]
        while self._take(","):
            orders.append(self._order())
        return tuple(orders)

    def _order(self) -> Order:
        name = self._name()
        descending = self._take("asc", "desc") == "desc"
        last = bool(self._take("nulls")) and self._word("first", "last") == "last"
        return Order(name, descending, last)

    def _limit(self) -> int:
        token = self._peek()
        if token.kind != "number" or not token.text.isdigit():
            self._unexpected(token)
        self._next += 1
        return int(token.text)


def _among(name: Name, names: list[Name]) -> int:
    return sum(1 for each in names if each.path.lower() == name.path.lower())
