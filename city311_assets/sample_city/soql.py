"""The part of SoQL that the project's clients send: a request, understood or refused."""

from collections.abc import Mapping
from dataclasses import dataclass

from city311_assets.feeds.feed import COMPUTED_REGION
from city311_assets.sample_city.soql_clauses import (
    SYSTEM_TYPES,
    Days,
    Reader,
    SodaError,
    Term,
    malformed,
    typed,
)

DEFAULT_LIMIT, LARGEST_LIMIT = 1_000, 50_000
PARAMETERS = frozenset({"$select", "$where", "$order", "$group", "$limit", "$offset"})
IGNORED_PARAMETERS = frozenset({"$$app_token"})
ALL, ALL_SYSTEM = "*", ":*"


@dataclass(frozen=True, slots=True)
class Query:
    """One understood query: what to select (by alias), and the rest as SQL."""

    selected: dict[str, Term]
    where: Term | None
    groups: list[Term]
    order: list[tuple[Term, str]]
    limit: int
    offset: int
    columns: frozenset[str]

    @property
    def is_grouped(self) -> bool:
        """Whether a row of the answer stands for several records."""
        return bool(self.groups) or any(term.is_aggregate for term in self.selected.values())

    @property
    def days(self) -> Days:
        """The opening days that the answer can depend on."""
        return self.where.days if self.where else Days()


def _whole(params: Mapping[str, str], name: str, default: int, most: int | None = None) -> int:
    text = params.get(name, str(default))
    if not text.isdecimal() or (most is not None and int(text) > most):
        limit = f", at most {most}" if most is not None else ""
        raise malformed(f"{name} must be a whole number{limit}, not {text!r}", text)
    return int(text)


def query(params: Mapping[str, str], types: Mapping[str, str], opened: str | None) -> Query:
    """Return what the parameters of a request ask of a dataset.

    Parameters
    ----------
    params
        The request's, `$select` and so on.
    types
        Data type by column of the dataset, Socrata's own columns included.
    opened
        The column whose day bounds which records must be made.

    Raises
    ------
    SodaError
        A clause is not understood, or names a column that there is not.
    """
    if unknown := sorted(set(params) - PARAMETERS - IGNORED_PARAMETERS):
        raise malformed(f"unknown parameter {', '.join(unknown)}", unknown[0])
    columns: set[str] = set()

    def reader(name: str) -> Reader | None:
        return Reader(params[name], types, opened, columns) if params.get(name) else None

    selected = _selection(reader("$select") or Reader(ALL, types, opened, columns))
    grouping, ordering, clause = reader("$group"), reader("$order"), reader("$where")
    found = Query(
        selected=selected,
        where=clause.several(clause.condition)[0] if clause else None,
        groups=grouping.several(lambda: _named(grouping, selected)) if grouping else [],
        order=ordering.several(lambda: _ordered(ordering, selected)) if ordering else [],
        limit=_whole(params, "$limit", DEFAULT_LIMIT, LARGEST_LIMIT),
        offset=_whole(params, "$offset", 0),
        columns=frozenset(columns),
    )
    _refuse_ungrouped(found)
    return found


def _selection(clause: Reader) -> dict[str, Term]:
    """Return what is selected, by alias."""
    found: dict[str, Term] = {}

    def item() -> None:
        every = clause.peek()
        if every in {("name", ALL_SYSTEM), ("mark", ALL)}:
            clause.at += 1
            for name, kind in clause.types.items():
                is_system = name in SYSTEM_TYPES or name.startswith(COMPUTED_REGION)
                if is_system == (every[1] == ALL_SYSTEM):
                    clause.columns.add(name)
                    found[name] = Term(typed(name, kind), kind, column=name)
            return
        term = clause.value()
        alias = term.column
        if clause.take("as"):
            kind, alias = clause.peek()
            if kind != "name" or alias == ALL_SYSTEM:
                raise clause.refusal("expected a name after as")
            alias = alias.lower()
            clause.at += 1
        if alias is None:
            raise clause.refusal("a literal cannot be selected")
        found[alias] = term

    clause.several(item)
    return found


def _named(clause: Reader, selected: Mapping[str, Term]) -> Term:
    """Read an alias of what is selected, or a value."""
    alias = clause.peek()[1].lower()
    if clause.peek(1) != ("mark", "(") and alias in selected:
        clause.at += 1
        return selected[alias]
    return clause.value()


def _ordered(clause: Reader, selected: Mapping[str, Term]) -> tuple[Term, str]:
    """Read a term of `$order` and its direction; nulls come last, or first downwards."""
    term = _named(clause, selected)
    if clause.take("desc"):
        return term, "desc nulls first"
    clause.take("asc")
    return term, "asc nulls last"


def _refuse_ungrouped(asked: Query) -> None:
    if not asked.is_grouped:
        return
    grouped = {term.sql for term in asked.groups}
    terms = [*asked.selected.items(), *((term.column or "", term) for term, _ in asked.order)]
    for name, term in terms:
        if not term.is_aggregate and term.sql not in grouped:
            code = "query.soql.column-not-in-group-bys"
            raise SodaError(400, code, f"Column not in group bys: {name}", column=name)
