"""The words of SoQL, one clause at a time, as parameterised DuckDB SQL.

No piece of a query's text reaches the SQL: columns are looked up among the dataset's, literals
become parameters. Whatever is not understood is refused with the words that were not.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

from city311_assets.feeds.feed import ROW_ID, SYSTEM_COLUMNS

KNOWN = (
    "the sample city knows only the clauses the clients send: columns, :*, *, count(*), min, max "
    "and date_trunc_ymd; = != < <= > >=, in (...), is [not] null, and, or, parentheses"
)
TIMES = frozenset({"calendar_date", "fixed_timestamp"})
SYSTEM_TYPES = {name: "text" if name == ROW_ID else "fixed_timestamp" for name in SYSTEM_COLUMNS}
T = TypeVar("T")

KEYWORDS = frozenset({"and", "or", "is", "not", "null", "in", "as", "asc", "desc", "true", "false"})
COMPARISONS = {"=": "=", "!=": "<>", "<>": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?\d+(?:\.\d+)?)|(?P<name>:\*|:@?\w+|[A-Za-z_]\w*)"
    r"|`(?P<quoted>[^`]+)`|(?P<mark><=|>=|!=|<>|[=<>(),*]))"
)


class SodaError(Exception):
    """An answer other than rows: its status, code and message as Socrata sends them."""

    def __init__(self, status: int, code: str, message: str, **data: object) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": code, "error": True, "message": message, "data": data}


def malformed(message: str, text: str) -> SodaError:
    """Return the error for a clause that is not understood."""
    return SodaError(400, "query.soql.malformed", f"{message}; {KNOWN}", query=text)


@dataclass(frozen=True, slots=True)
class Days:
    """The opening days a query is about, both ends included; None has no bound."""

    first: date | None = None
    last: date | None = None

    def both(self, other: "Days") -> "Days":
        """Return the days in both."""
        firsts = [day for day in (self.first, other.first) if day]
        lasts = [day for day in (self.last, other.last) if day]
        return Days(max(firsts, default=None), min(lasts, default=None))

    def either(self, other: "Days") -> "Days":
        """Return the shortest run of days that covers both."""
        firsts, lasts = (self.first, other.first), (self.last, other.last)
        return Days(
            min(day for day in firsts if day) if all(firsts) else None,
            max(day for day in lasts if day) if all(lasts) else None,
        )


@dataclass(frozen=True, slots=True)
class Term:
    """A piece of a query: a value, or (type `condition`) what must hold."""

    sql: str
    kind: str
    params: tuple[object, ...] = ()
    column: str | None = None
    literal: object = None
    is_aggregate: bool = False
    is_opening: bool = False
    days: Days = Days()


def quoted(name: str) -> str:
    """Return a column's name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def typed(name: str, kind: str) -> str:
    """Return the SQL of a column's value, as what its data type says it is."""
    column = quoted(name)
    if kind in TIMES:
        return f"try_cast({column} as timestamp)"
    return f"try_cast({column} as double)" if kind == "number" else column


@dataclass
class Reader:
    """One clause, read from left to right."""

    text: str
    types: Mapping[str, str]
    opened: str | None
    columns: set[str]
    tokens: list[tuple[str, str]] = field(default_factory=list)
    at: int = 0

    def __post_init__(self) -> None:
        place = 0
        while self.text[place:].strip():
            match = TOKEN.match(self.text, place)
            if not match:
                raise malformed(f"not understood: {self.text[place:].strip()!r}", self.text)
            kind, value = next((k, v) for k, v in match.groupdict().items() if v is not None)
            if kind == "name" and value.lower() in KEYWORDS:
                kind, value = "word", value.lower()
            self.tokens.append((kind, value))
            place = match.end()

    def peek(self, ahead: int = 0) -> tuple[str, str]:
        """Return the next token, or an empty one at the end."""
        return self.tokens[self.at + ahead] if self.at + ahead < len(self.tokens) else ("end", "")

    def take(self, *values: str) -> bool:
        """Step over the next tokens if they are these."""
        words = [self.peek(index) for index in range(len(values))]
        found = all(
            value == word and kind in {"word", "mark"}
            for value, (kind, word) in zip(values, words, strict=True)
        )
        self.at += len(values) if found else 0
        return found

    def expect(self, value: str) -> None:
        """Step over one token or refuse the clause."""
        if not self.take(value):
            raise self.refusal(f"expected {value!r}")

    def refusal(self, why: str = "not understood") -> SodaError:
        """Return the error for what stands here."""
        kind, value = self.peek()
        return malformed(f"{why} at {'the end' if kind == 'end' else repr(value)}", self.text)

    def several(self, one: Callable[[], T]) -> list[T]:
        """Read a list with commas to the end of the clause."""
        found = [one()]
        while self.take(","):
            found.append(one())
        if self.peek()[0] != "end":
            raise self.refusal()
        return found

    def column(self) -> Term:
        """Read a column's name."""
        kind, name = self.peek()
        if kind not in {"name", "quoted"}:
            raise self.refusal("expected a column")
        name = name.lower() if kind == "name" else name
        if name not in self.types:
            code = "query.soql.no-such-column"
            raise SodaError(400, code, f"No such column: {name}", column=name, query=self.text)
        self.at += 1
        self.columns.add(name)
        sql = typed(name, self.types[name])
        return Term(sql, self.types[name], column=name, is_opening=name == self.opened)

    def value(self) -> Term:
        """Read a column, a function of one, or a literal."""
        kind, word = self.peek()
        if kind == "text":
            self.at += 1
            content = word[1:-1].replace("''", "'")
            return Term("?", "literal", (content,), literal=content)
        if kind == "number":
            self.at += 1
            return Term("cast(? as double)", "number", (float(word),), literal=float(word))
        if kind == "word" and word in {"true", "false"}:
            self.at += 1
            return Term("?", "checkbox", (word,), literal=word)
        if kind == "name" and self.peek(1) == ("mark", "("):
            return self.call(word.lower())
        return self.column()

    def call(self, name: str) -> Term:
        """Read a function's call."""
        if name not in {"count", "min", "max", "date_trunc_ymd"}:
            code = "query.soql.no-such-function"
            raise SodaError(400, code, f"No such function: {name}; {KNOWN}", query=self.text)
        self.at += 2
        if name == "count" and self.take("*"):
            self.expect(")")
            return Term("count(*)", "number", is_aggregate=True, column="count")
        inner = self.column()
        self.expect(")")
        if name == "count":
            named = f"count_{(inner.column or '').lstrip(':')}"
            return Term(f"count({inner.sql})", "number", column=named, is_aggregate=True)
        named = f"{name}_{(inner.column or '').lstrip(':')}"
        if name == "date_trunc_ymd":
            if inner.kind not in TIMES:
                raise self.mismatch(inner, "a timestamp")
            day = f"date_trunc('day', {inner.sql})"
            return Term(day, "calendar_date", column=named, is_opening=inner.is_opening)
        return Term(f"{name}({inner.sql})", inner.kind, column=named, is_aggregate=True)

    def mismatch(self, term: Term, wanted: object) -> SodaError:
        """Return the error for a column and a value that do not go together."""
        message = f"Type mismatch for {term.column}, is {term.kind}: {wanted!r} does not go with it"
        return SodaError(400, "query.soql.type-mismatch", message, query=self.text)

    def matched(self, term: Term, other: Term) -> Term:
        """Return a literal as the type of what it is compared with."""
        if other.literal is None or term.literal is not None:
            return other
        if term.kind in TIMES and isinstance(other.literal, str):
            try:
                moment = datetime.fromisoformat(other.literal)
            except ValueError:
                raise self.mismatch(term, other.literal) from None
            moment = moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
            return Term("cast(? as timestamp)", term.kind, (moment,), literal=moment)
        if term.kind == "number":
            try:
                number = float(str(other.literal))
            except ValueError:
                raise self.mismatch(term, other.literal) from None
            return Term("cast(? as double)", "number", (number,), literal=number)
        if term.kind in TIMES or not isinstance(other.literal, str):
            raise self.mismatch(term, other.literal)
        return other

    def condition(self) -> Term:
        """Read conditions joined by `or`."""
        found = self.conjunction()
        while self.take("or"):
            other = self.conjunction()
            days = found.days.either(other.days)
            sql, params = f"({found.sql} or {other.sql})", found.params + other.params
            found = Term(sql, "condition", params, days=days)
        return found

    def conjunction(self) -> Term:
        """Read conditions joined by `and`."""
        found = self.comparison()
        while self.take("and"):
            other = self.comparison()
            days = found.days.both(other.days)
            sql, params = f"({found.sql} and {other.sql})", found.params + other.params
            found = Term(sql, "condition", params, days=days)
        return found

    def comparison(self) -> Term:
        """Read one condition."""
        if self.take("("):
            inner = self.condition()
            self.expect(")")
            return inner
        left = self.value()
        if left.is_aggregate:
            raise self.refusal("an aggregate cannot stand in $where")
        if self.take("is", "not", "null"):
            return Term(f"({left.sql} is not null)", "condition", left.params)
        if self.take("is", "null"):
            return Term(f"({left.sql} is null)", "condition", left.params)
        if self.take("in"):
            return self.membership(left)
        kind, sign = self.peek()
        if kind != "mark" or sign not in COMPARISONS:
            raise self.refusal("expected a comparison")
        self.at += 1
        right = self.value()
        left, right = self.matched(right, left), self.matched(left, right)
        sql = f"({left.sql} {COMPARISONS[sign]} {right.sql})"
        opening, literal, seen = (
            (left, right, sign) if left.is_opening else (right, left, FLIPPED.get(sign, sign))
        )
        days = _days(seen, literal.literal) if opening.is_opening else Days()
        return Term(sql, "condition", left.params + right.params, days=days)

    def membership(self, left: Term) -> Term:
        """Read the list after `in`."""
        self.expect("(")
        items = [self.matched(left, self.value())]
        while self.take(","):
            items.append(self.matched(left, self.value()))
        self.expect(")")
        if any(item.literal is None for item in items):
            raise malformed("in (...) takes literals only", self.text)
        days = Days()
        if left.is_opening:
            spans = [_days("=", item.literal) for item in items]
            days = spans[0]
            for span in spans[1:]:
                days = days.either(span)
        sql = f"({left.sql} in ({', '.join(item.sql for item in items)}))"
        params = left.params + tuple(param for item in items for param in item.params)
        return Term(sql, "condition", params, days=days)


def _days(sign: str, moment: object) -> Days:
    """Return the opening days that a comparison with one moment allows."""
    if not isinstance(moment, datetime):
        return Days()
    day = moment.date()
    if sign == "<":
        return Days(None, (moment - timedelta(microseconds=1)).date())
    spans = {"=": Days(day, day), "<=": Days(None, day), ">": Days(day), ">=": Days(day)}
    return spans.get(sign, Days())
