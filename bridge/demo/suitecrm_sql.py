"""The fragments of SQL that the stand-in SuiteCRM takes in a `query`: a small grammar, and nothing else.

expression = term {("AND" | "OR") term}, AND before OR      term = ["NOT"] ( "(" expression ")" | condition )
condition  = column (("=" | "!=" | "<>" | "<" | "<=" | ">" | ">=") literal | ["NOT"] "IN" "(" literals ")"
             | ["NOT"] "LIKE" literal | "IS" ["NOT"] "NULL")
column     = table "." name         literal = a number, or a text in single quotes, '' standing for one
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

Row = Mapping[str, str]
Test = Callable[[Row], bool]

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^'\\]|'')*')|(?P<number>\d+)|(?P<word>[A-Za-z_#][\w#]*(?:\.[\w#]+)?)|(?P<sign><=|>=|<>|!=|[=<>(),]))"
)
_SIGNS: Mapping[str, Callable[[str, str], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_WORDS = frozenset({"AND", "OR", "NOT", "IN", "LIKE", "IS", "NULL"})


class Rejected(Exception):
    """Not of the grammar: fault 40."""


class Failed(Exception):
    """Of the grammar, and the database cannot: a column or a table that it does not have."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A test of rows, and what of it bounds the ids: those equal to one, those from `low` on, those below `high`."""

    test: Test
    ids: frozenset[str] | None = None
    low: str = ""
    high: str = ""


def read(query: str, table: str, columns: Collection[str]) -> Condition:
    """The condition that a query is; the empty one takes every row."""
    if not query.strip():
        return Condition(lambda row: True)
    parser = _Parser(_tokens(query), table, columns)
    condition = parser.expression()
    if parser.tokens:
        raise Rejected
    return condition


def _tokens(query: str) -> list[tuple[str, str]]:
    tokens, at = [], 0
    while query[at:].strip():
        found = _TOKEN.match(query, at)
        if found is None:
            raise Rejected
        kind = found.lastgroup or ""
        text = found.group(kind)
        if kind == "word" and text.upper() in _WORDS:
            kind, text = "key", text.upper()
        tokens.append((kind, text))
        at = found.end()
    return tokens


class _Parser:
    def __init__(self, tokens: list[tuple[str, str]], table: str, columns: Collection[str]) -> None:
        self.tokens = tokens
        self._table = table
        self._columns = columns

    def expression(self) -> Condition:
        """Terms joined by OR of terms joined by AND."""
        either = [self._all()]
        while self._takes("key", "OR"):
            either.append(self._all())
        if len(either) == 1:
            return either[0]
        tests = [each.test for each in either]
        return Condition(lambda row: any(test(row) for test in tests))

    def _all(self) -> Condition:
        every = [self._term()]
        while self._takes("key", "AND"):
            every.append(self._term())
        if len(every) == 1:
            return every[0]
        tests = [each.test for each in every]
        ids = next((each.ids for each in every if each.ids is not None), None)
        low = max(each.low for each in every)
        high = min((each.high for each in every if each.high), default="")
        return Condition(lambda row: all(test(row) for test in tests), ids, low, high)

    def _term(self) -> Condition:
        if self._takes("key", "NOT"):
            test = self._term().test
            return Condition(lambda row: not test(row))
        if self._takes("sign", "("):
            inner = self.expression()
            self._expects("sign", ")")
            return inner
        return self._condition()

    def _condition(self) -> Condition:
        column = self._column()
        if self._takes("key", "IS"):
            negated = self._takes("key", "NOT")
            self._expects("key", "NULL")
            return Condition(lambda row: bool(row.get(column)) is negated)
        negated = self._takes("key", "NOT")
        if self._takes("key", "IN"):
            return self._among(column, negated)
        if self._takes("key", "LIKE"):
            pattern = re.compile(_like(self._literal()), re.IGNORECASE | re.DOTALL)
            return Condition(lambda row: bool(pattern.fullmatch(row.get(column, ""))) is not negated)
        if negated or not self.tokens or self.tokens[0][1] not in _SIGNS:
            raise Rejected
        return self._compared(column, self.tokens.pop(0)[1], self._literal())

    def _compared(self, column: str, sign: str, literal: str) -> Condition:
        compare = _SIGNS[sign]
        id = column == "id"
        return Condition(
            lambda row: compare(row.get(column, ""), literal),
            frozenset({literal}) if id and sign == "=" else None,
            literal if id and sign in (">", ">=") else "",
            literal if id and sign == "<" else "",
        )

    def _among(self, column: str, negated: bool) -> Condition:
        self._expects("sign", "(")
        literals = {self._literal()}
        while self._takes("sign", ","):
            literals.add(self._literal())
        self._expects("sign", ")")
        ids = frozenset(literals) if column == "id" and not negated else None
        return Condition(lambda row: (row.get(column, "") in literals) is not negated, ids)

    def _column(self) -> str:
        kind, text = self.tokens.pop(0) if self.tokens else ("", "")
        table, _, name = text.lower().rpartition(".")
        if kind != "word" or name == "user_hash" or not re.fullmatch(r"[a-z0-9_#.]+", text.lower()):
            raise Rejected
        if self.tokens and self.tokens[0] == ("sign", "("):
            raise Rejected
        if not table:
            # Ambiguous where tables are joined, as they are.
            raise Failed
        if table not in (self._table, f"{self._table}_cstm") or name not in self._columns:
            raise Failed
        return name

    def _literal(self) -> str:
        kind, text = self.tokens.pop(0) if self.tokens else ("", "")
        if kind == "text":
            return text[1:-1].replace("''", "'")
        if kind == "number":
            return text
        raise Rejected

    def _takes(self, kind: str, text: str) -> bool:
        if self.tokens and self.tokens[0] == (kind, text):
            self.tokens.pop(0)
            return True
        return False

    def _expects(self, kind: str, text: str) -> None:
        if not self._takes(kind, text):
            raise Rejected


def _like(pattern: str) -> str:
    return "".join(".*" if each == "%" else "." if each == "_" else re.escape(each) for each in pattern)
