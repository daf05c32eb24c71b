"""The pairs page of the delays: a case beside the cases it is compared with, blind if wanted.

What belongs here: which cases are gone through, and what is shown of a pair. What does not: ratings
(`ratings`). Who rates blindly is sent nothing that gives a neighbourhood away: not the names, not
the hours, not the similarity, nor the order by it.
"""

import hashlib
import re
from typing import Any

import polars as pl
from dash import dcc, html
from dash.development.base_component import Component

from city311_assets.serving.console.atlas.parts import method_words, photo, portal_links
from city311_assets.serving.console.atlas.words import UNKNOWN, hours, plain
from city311_assets.serving.console.delays.effects import Effects, pairs_of
from city311_assets.serving.console.delays.ratings import ANSWERS
from city311_assets.serving.console.delays.selection import Selection
from city311_assets.serving.snapshots import Snapshot

MASK = "\N{MEDIUM SHADE}" * 3
HIDDEN = "hidden"
# A number or two letters are no name that a rater would read in a sentence.
NAME = re.compile(r"[^\W\d_]{3}")
ROUNDING_HOURS = 0.06
Row = dict[str, Any]


def order(effects: Effects, chosen: Selection) -> list[str]:
    """Return the cases that are gone through: of the neighbourhood, blindly of all, by a hash.

    Blindly in another order, so that a rater has not just seen the first.
    """
    cases = effects.cases.filter("is_used")
    if not chosen.is_blind:
        return cases.filter(pl.col("neighborhood") == chosen.neighborhood)["record_id"].to_list()
    return sorted(cases["record_id"], key=lambda one: hashlib.sha256(one.encode()).digest())


def shown(snapshot: Snapshot, effects: Effects, chosen: Selection) -> tuple[str | None, list[Row]]:
    """Return the case that is shown and its pairs; None where there is none to show."""
    cases = order(effects, chosen)
    known = chosen.case is not None and effects.case(chosen.case) is not None
    record = chosen.case if known else next(iter(cases), None)
    if record is None:
        return None, []
    pairs = pairs_of(snapshot, effects, record)
    if chosen.is_blind:
        pairs.sort(key=lambda row: hashlib.sha256(row["control_id"].encode()).digest())
    return record, pairs


def cards(effects: Effects, chosen: Selection, record: str | None, pairs: list[Row]) -> Component:
    """Return the case and its controls side by side, each control with a rating."""
    case = effects.case(record or "")
    if case is None or not pairs:
        return html.P(no_pairs(effects, chosen), className="empty")
    masked = _Masked(effects.neighborhoods, chosen.is_blind)
    first = pairs[0]
    common = [("In common", masked(first["stratum"]))]
    return html.Div(
        [
            _card(
                chosen,
                case,
                title="Case",
                restricted=first["restricted_hours"],
                more=common,
                masked=masked,
            ),
            *(
                _card(
                    chosen,
                    effects.case(row["control_id"]) or {},
                    title=_title(chosen, row, place),
                    restricted=row["control_restricted_hours"],
                    more=_likeness(chosen, row),
                    masked=masked,
                    control=row["control_id"],
                )
                for place, row in enumerate(pairs)
            ),
        ],
        className="delays-set",
    )


def no_pairs(effects: Effects, chosen: Selection) -> str:
    """Return why there is no pair to show."""
    if effects.atlas is None:
        return "The file has no map of this month, and so no cases to show."
    if chosen.is_blind or effects.cases.is_empty():
        return "No case of this month has a like case elsewhere that may be shown."
    return f"No case of {chosen.neighborhood} has a like case elsewhere that may be shown."


def place_words(effects: Effects, chosen: Selection, record: str | None) -> str:
    """Return which of how many cases is shown."""
    cases = order(effects, chosen)
    where = "all neighbourhoods" if chosen.is_blind else chosen.neighborhood
    if record not in cases:
        return f"A case that is not among the {len(cases):,} of {where} that effects use."
    left_out = effects.cases_held - effects.cases.height
    said = f"Case {cases.index(record) + 1:,} of {len(cases):,} of {where} that effects use."
    if left_out and not chosen.is_blind:
        said += f" {left_out:,} cases of the month are no longer among the city's and not shown."
    return said


def step(effects: Effects, chosen: Selection, record: str | None, by: int) -> str | None:
    """Return the case so many further on, around the end; None if there is none."""
    cases = order(effects, chosen)
    if not cases:
        return None
    at = cases.index(record) if record in cases else -by if by > 0 else 0
    return cases[(at + by) % len(cases)]


class _Masked:
    """Texts as a rater may read them: blindly, without names of neighbourhoods."""

    def __init__(self, neighborhoods: tuple[str, ...], is_blind: bool) -> None:
        names = sorted(filter(NAME.search, neighborhoods), key=len, reverse=True)
        spoken = "|".join(map(re.escape, names))
        self._names = re.compile(rf"(?<!\w)(?:{spoken})(?!\w)", re.IGNORECASE) if names else None
        self._is_blind = is_blind

    def __call__(self, text: str | None) -> str:
        if text is None:
            return UNKNOWN
        return self._names.sub(MASK, text) if self._is_blind and self._names else text


def _card(
    chosen: Selection,
    case: Row,
    *,
    title: str,
    restricted: float,
    more: list[tuple[str, str]],
    masked: _Masked,
    control: str | None = None,
) -> Component:
    is_blind = chosen.is_blind
    rows = [
        ("Kind", masked(case["kind"])),
        ("Opened", str(case["day"])),
        ("Hours", HIDDEN if is_blind else _took(case["hours_to_close"], restricted)),
        ("Neighbourhood", HIDDEN if is_blind else case["neighborhood"] or UNKNOWN),
        *more,
    ]
    shown: list[Component] = [
        html.H3(title if is_blind else f"{title}: {case['record_id']}"),
        photo(chosen.feed, case),
        html.P(masked(case["caption"] or "No description.")),
        html.P(method_words(case), className="quiet"),
        html.Dl(
            [part for name, value in rows for part in (html.Dt(name), html.Dd(value))],
            className="atlas-facts",
        ),
    ]
    if not is_blind:
        shown.append(portal_links(case))
    if control is not None:
        shown.append(
            html.Fieldset(
                [
                    html.Legend("The same complaint?"),
                    dcc.RadioItems(
                        id={"type": "delays-rating", "control": control},
                        options=[{"label": text, "value": one} for one, text in ANSWERS.items()],
                        inline=True,
                        className="options",
                    ),
                ],
                className="delays-rating",
            )
        )
    return html.Article(
        shown, className="card delays-pair" + ("" if control else " delays-treated")
    )


def _title(chosen: Selection, row: Row, place: int) -> str:
    """Return what a control is called: blindly by a letter, else by how alike it is."""
    return f"Control {'ABCDE'[place]}" if chosen.is_blind else f"Control {row['match_rank']}"


def _likeness(chosen: Selection, row: Row) -> list[tuple[str, str]]:
    if chosen.is_blind:
        return [("Similarity", HIDDEN)]
    return [("Similarity", plain(row["similarity"], 3)), ("Use", _use(row))]


def _took(took: float | None, restricted: float) -> str:
    if took is None:
        return f"open, or not known; counts as {hours(restricted)}"
    if took > restricted + ROUNDING_HOURS:
        return f"closed after {hours(took)}; counts as {hours(restricted)}"
    return f"closed after {hours(took)}"


def _use(row: Row) -> str:
    if row["weight"] is not None:
        return f"used, weight {plain(row['weight'], 2)}"
    return "not used: " + ("others are nearer" if row["is_within_caliper"] else "not alike enough")
