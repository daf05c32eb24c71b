"""What a feed is: one dataset of one city, declared as one value in one module.

Everything else in the project is written for *a feed*, never for a named city. What belongs here:
the vocabulary of the declarations. What does not: how records are fetched (`clients`) or what is
made of them (`silver`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

Kind = Literal["request", "incident"]
# What a record may come to, and of which kind of record it can be asked.
Outcome = Literal["closed_within_7_days", "arrest"]
OUTCOMES: dict[Outcome, Kind] = {"closed_within_7_days": "request", "arrest": "incident"}

# Socrata's own columns, asked for as `:*`. They are UTC; the dataset's columns are local wall time.
ROW_ID = ":id"
ROW_CREATED_AT = ":created_at"
ROW_UPDATED_AT = ":updated_at"
SYSTEM_COLUMNS = (ROW_ID, ROW_CREATED_AT, ROW_UPDATED_AT)

# Portals put one before a value now and then; it is nothing.
BYTE_ORDER_MARK = "\ufeff"

# Derived by the portal from the point, renumbered at its convenience: neither stored nor reported.
COMPUTED_REGION = ":@computed_region_"


@dataclass(frozen=True, slots=True)
class BoundingBox:
    """Degrees, WGS 84; a point outside is not in the city."""

    south: float
    west: float
    north: float
    east: float


@dataclass(frozen=True, slots=True)
class BoundarySet:
    """One dataset of areas that a city's portal publishes as GeoJSON.

    `areas` says what they are (`neighborhood`, `district`, `ward`, …), `name_property` and
    `code_property` which of a feature's properties hold an area's name and number.
    """

    areas: str
    dataset: str
    name_property: str
    code_property: str | None = None


@dataclass(frozen=True, slots=True)
class City:
    """What all feeds of a city share: its clock, its box, its weather point, its areas."""

    name: str
    title: str
    portal: str
    timezone: str
    latitude: float
    longitude: float
    box: BoundingBox
    boundaries: tuple[BoundarySet, ...]


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """One column as the portal names it (`name`, in the API) and as its files spell it (`aliases`).

    Spellings are compared without case, spaces and punctuation, so `Case Number` needs no alias
    for `case_number`.
    """

    name: str
    doc: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Feed:
    """One dataset of one city.

    `fields` maps silver's columns to source columns. `required` names the source columns without
    which a record cannot be placed in time or typed: an answer or a file that lacks one is refused.
    `missing` names, by silver column, the texts that mean "unknown" there; `*` holds everywhere.
    `records_per_day` is about how many there are, for estimates. `outcome` is what rates are of.
    `reporting_lag_days` says of how many of the newest days the portal may not have all, because
    it withholds them. `photo_hosts` are those that its photo links may be followed to.
    """

    name: str
    title: str
    city: City
    kind: Kind
    dataset: str
    record_id: str
    opened: str
    closed: str | None
    changed: str | None
    columns: tuple[SourceColumn, ...]
    fields: Mapping[str, str]
    required: tuple[str, ...]
    taxonomy: str
    outcome: Outcome
    missing: Mapping[str, frozenset[str]] = field(default_factory=dict)
    administrative_kinds: frozenset[str] = frozenset()
    duplicate_statuses: frozenset[str] = frozenset()
    licence: str = ""
    records_per_day: int = 1_000
    reporting_lag_days: int = 0
    code_taxonomy: str | None = None
    photo_hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        declared = {column.name for column in self.columns}
        named = {self.record_id, self.opened, *self.fields.values(), *self.required}
        named |= {name for name in (self.closed, self.changed) if name}
        if unknown := sorted(named - declared):
            raise ValueError(f"{self.name} maps columns it does not declare: {unknown}")
        if OUTCOMES[self.outcome] != self.kind:
            raise ValueError(f"{self.name} is of {self.kind}s, which have no {self.outcome}")

    @cached_property
    def column_names(self) -> list[str]:
        """The source columns by their API names, in the declared order."""
        return [column.name for column in self.columns]

    @property
    def record_url(self) -> str:
        """The portal's answer for one record; `{record_id}` stands for its number."""
        place = f"https://{self.city.portal}/resource/{self.dataset}.json"
        return f"{place}?{self.record_id}={{record_id}}"

    @cached_property
    def table(self) -> str:
        """The silver table the feed's records go to."""
        return {"request": "requests", "incident": "incidents"}[self.kind]

    def means_missing(self, column: str) -> frozenset[str]:
        """Return the texts that mean "unknown" in one silver column."""
        return self.missing.get("*", frozenset()) | self.missing.get(column, frozenset())
