"""SODA 2.1: one query over one dataset, answered as the portal would.

Rows are JSON objects without the keys whose value is null; numbers are texts; objects and booleans
are what they are. Without `$order` the order means nothing (a hash decides), as at the portal.
"""

import json
from threading import Lock

import duckdb

from city311_assets.feeds.feed import ROW_ID
from city311_assets.feeds.registry import CITIES
from city311_assets.sample_city.datasets import Dataset
from city311_assets.sample_city.soql import Query
from city311_assets.sample_city.soql_clauses import SYSTEM_TYPES, TIMES, Term, quoted

NO_ORDER = f'hash("{ROW_ID}") as no_order'
NESTED = frozenset({"location", "point", "url"})


def _value(term: Term) -> str:
    """Return the SQL of a term's JSON text, null where the value is."""
    name = quoted(term.column or "")
    as_text = f"cast(to_json({name}) as varchar)"
    if term.is_aggregate or term.sql.startswith("date_trunc"):
        return _computed(term)
    if term.kind in NESTED:
        return f"case when json_valid({name}) then {name} else {as_text} end"
    if term.kind == "checkbox":
        return f"case when {name} in ('true', 'false') then {name} else {as_text} end"
    return as_text


def _computed(term: Term) -> str:
    """Return the SQL of a computed value's JSON text: whole numbers bare, times in full."""
    if term.kind in TIMES:
        zone = "Z" if term.kind == "fixed_timestamp" else ""
        return f"""'"' || strftime({term.sql}, '%Y-%m-%dT%H:%M:%S.%g{zone}') || '"'"""
    bare = f"regexp_replace(cast({term.sql} as varchar), '\\.0$', '')"
    return f"cast(to_json({bare}) as varchar)"


def _key(alias: str) -> str:
    """Return the SQL of a JSON key and its colon."""
    return "'" + json.dumps(alias).replace("'", "''") + ":'"


def _row(asked: Query) -> str:
    """Return the SQL of a row's JSON text; `concat_ws` leaves out what is null."""
    keys = [f"{_key(alias)} || {_value(term)}" for alias, term in asked.selected.items()]
    return f"'{{' || concat_ws(',', {', '.join(keys)}) || '}}'"


def _sql(asked: Query) -> tuple[str, list[object]]:
    """Return the SQL of a query's answer over the table `records`, and its parameters."""
    keys = [f"{term.sql} as key_{index}" for index, (term, _) in enumerate(asked.order)]
    params = [param for term, _ in asked.order for param in term.params]
    ways = [f"key_{index} {way}" for index, (_, way) in enumerate(asked.order)]
    condition = ""
    if asked.where:
        condition = f" where {asked.where.sql}"
        params += asked.where.params
    params += [asked.limit, asked.offset]
    if asked.is_grouped:
        grouping = ", ".join(term.sql for term in asked.groups)
        grouped = f" group by {grouping}" if grouping else ""
        rows = f"select {', '.join([f'{_row(asked)} as answer', *keys])} from records"
        order = ", ".join([*ways, "hash(answer)"])
        sql = f"select answer from ({rows}{condition}{grouped}) order by {order} limit ? offset ?"
        return sql, params
    order = ", ".join([*ways, "no_order"])
    rows = f"select {', '.join(['*', *keys, NO_ORDER])} from records{condition}"
    page = f"{rows} order by {order} limit ? offset ?"
    return f"select {_row(asked)} from ({page}) order by {order}", params


class Soda:
    """Answers queries; one DuckDB connection, one query at a time."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._connection = duckdb.connect(":memory:", config={"threads": 2})

    def answer(self, dataset: Dataset, asked: Query) -> str:
        """Return the JSON text of a query's rows."""
        frame = dataset.rows(asked.columns | {ROW_ID}, asked.days)
        sql, params = _sql(asked)
        with self._lock:
            self._connection.register("records", frame.to_arrow())
            rows = self._connection.execute(sql, params).fetchall()
            self._connection.unregister("records")
        return "[" + "\n,".join(row[0] for row in rows) + "]\n"


def view(dataset_id: str, dataset: Dataset) -> dict[str, object]:
    """Return the metadata of a dataset as `/api/views` gives it."""
    types = {name: kind for name, kind in dataset.types.items() if name not in SYSTEM_TYPES}
    return _view(dataset_id, dataset.name, types)


def _view(dataset_id: str, title: str, types: dict[str, str]) -> dict[str, object]:
    columns = [
        {
            "id": 100_000 + position,
            "name": name.replace("_", " ").title(),
            "dataTypeName": kind,
            "fieldName": name,
            "position": position,
            "renderTypeName": kind,
            "format": {},
        }
        for position, (name, kind) in enumerate(types.items(), start=1)
    ]
    return {
        "id": dataset_id,
        "name": title,
        "assetType": "dataset",
        "displayType": "table",
        "viewType": "tabular",
        "publicationStage": "published",
        "newBackend": True,
        "columns": columns,
    }


def boundary_view(portal: str, dataset_id: str) -> dict[str, object] | None:
    """Return the metadata of a boundary dataset, None if the portal has no such."""
    for city in CITIES.values():
        for boundary in city.boundaries:
            if (city.portal, boundary.dataset) == (portal, dataset_id):
                names = [boundary.name_property, boundary.code_property]
                types = dict.fromkeys((name for name in names if name), "text")
                title = f"{city.title} {boundary.areas} boundaries"
                return _view(dataset_id, title, {"the_geom": "multipolygon", **types})
    return None
