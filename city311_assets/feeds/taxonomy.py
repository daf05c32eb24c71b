"""Taxonomies: which published kinds make up a category. One CSV a version, in `taxonomies/`.

A changed grouping is a new file with the next version and a new name in the feed, so that a stored
row's `taxonomy` always says what made its category.
"""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

UNMAPPED = "unmapped"


def normalized(kind: str) -> str:
    """Return a kind without the drift of case, dashes and spaces seen between years."""
    dashes = re.sub(r"[\u2010-\u2015\u2212]", "-", kind)
    return re.sub(r"\s+", " ", dashes).strip().casefold()


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """Categories by normalised kind, and by the beginning of a kind (`General Request*`)."""

    exact: Mapping[str, str]
    beginnings: Mapping[str, str]

    def category(self, kind: str) -> str:
        """Return a published kind's category; `unmapped` if it has none."""
        name = normalized(kind)
        if name in self.exact:
            return self.exact[name]
        return next((c for start, c in self.beginnings.items() if name.startswith(start)), UNMAPPED)


@cache
def taxonomy(name: str) -> Taxonomy:
    """Return a taxonomy by name and version.

    Raises
    ------
    ValueError
        The file names a kind twice.
    """
    text = files("city311_assets.feeds").joinpath("taxonomies", f"{name}.csv").read_text("utf-8")
    categories: dict[str, str] = {}
    for row in csv.DictReader(text.splitlines()):
        kind = normalized(row["kind"])
        if kind in categories:
            raise ValueError(f"taxonomies/{name}.csv names the kind {row['kind']!r} twice")
        categories[kind] = row["category"]
    return Taxonomy(
        exact={kind: category for kind, category in categories.items() if kind[-1] != "*"},
        beginnings={kind[:-1]: c for kind, c in categories.items() if kind[-1] == "*"},
    )
