"""Plain tables of a page, and links to the assets that its numbers come from.

What belongs here: how a row and a link look. What does not: what stands in them. Cells are text:
what comes from the data is never rendered as anything else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dash import html
from dash.development.base_component import Component

from city311_assets.settings import settings

UNKNOWN = "\N{EN DASH}"

Cell = str | int | float | Component | None


@dataclass(frozen=True, slots=True)
class Head:
    """A column's heading; `is_number` sets its cells to the right, `title` explains it."""

    text: str
    is_number: bool = False
    title: str = ""


def table(heads: Sequence[Head], rows: Sequence[Sequence[Cell]], name: str) -> html.Div:
    """Return a table that scrolls sideways where it has to; `name` is what it is called."""
    labelled: Any = {"aria-label": name}
    return html.Div(
        html.Table(
            [
                html.Thead(
                    html.Tr(
                        [
                            html.Th(
                                head.text,
                                className="number" if head.is_number else "",
                                title=head.title,
                                scope="col",
                            )
                            for head in heads
                        ]
                    )
                ),
                html.Tbody(
                    [
                        html.Tr(
                            [
                                html.Td(shown(cell), className="number" if head.is_number else "")
                                for head, cell in zip(heads, row, strict=True)
                            ]
                        )
                        for row in rows
                    ]
                ),
            ],
            className="plain",
            **labelled,
        ),
        className="scroll",
        tabIndex=0,
    )


def options(labels: Mapping[Any, str], given: object) -> list[dict[str, Any]]:
    """Return a choice's options, with what an address asks for though there is no such thing.

    A control forgets a value that is none of its options and the address follows it, and then
    nobody could say what is wrong.
    """
    every = [{"label": label, "value": value} for value, label in labels.items()]
    if isinstance(given, str | int | float) and given not in labels:
        every.append({"label": f"{given} (unknown)", "value": given})
    return every


def shown(cell: Cell) -> str | Component:
    """Return a cell as it is shown: whole numbers with separators, what is missing as a dash."""
    if cell is None:
        return UNKNOWN
    if isinstance(cell, Component):
        return cell
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:,.2f}" if isinstance(cell, float) else cell


def asset_url(key: dg.AssetKey | str) -> str:
    """Return an asset's page in the Dagster UI; a key may be given with slashes."""
    path = key if isinstance(key, str) else "/".join(key.path)
    return f"{settings().dagster_url.rstrip('/')}/assets/{path}"


def asset_link(cell: Cell, key: dg.AssetKey | str) -> Component:
    """Return a number or text as a link to the asset it comes from."""
    name = key if isinstance(key, str) else "/".join(key.path)
    return html.A(
        shown(cell), href=asset_url(key), target="_blank", rel="noopener", title=f"asset {name}"
    )
