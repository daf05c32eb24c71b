"""What is chosen on the delays page, as its address says it.

What belongs here: the controls that the address carries, what their values mean, and links to other
views. What does not: what is shown of it.
"""

from asyncio import to_thread
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import TypeVar

import dash

from city311_assets.serving.console.atlas.controls import month_in
from city311_assets.serving.console.delays.effects import Effects, effects_of, months_by_feed
from city311_assets.serving.console.url_state import Control, Value, search_of
from city311_assets.serving.snapshots import Snapshot, Snapshots

Shown = TypeVar("Shown")

PATH = "/delays"
BLIND = "blind"
CONTROLS = (
    Control("delays-feed", "feed", prop="data"),
    Control("delays-month", "month", prop="data"),
    Control("delays-neighborhood", "neighborhood"),
    Control("delays-estimator", "estimator"),
    Control("delays-case", "case", prop="data"),
    Control("delays-blind", BLIND, "list", []),
)


@dataclass(frozen=True, slots=True)
class Selection:
    """What is looked at.

    Attributes
    ----------
    feed, month
        Whose effects of which month (its first day).
    months
        The months of the feed that have effects, in order.
    neighborhood, estimator
        Of whom, by which estimator.
    case
        The case whose pairs are shown; None for the first.
    is_blind
        Whether neighbourhoods, hours and similarity of pairs are hidden.
    """

    feed: str
    month: date
    months: tuple[date, ...]
    neighborhood: str
    estimator: str
    case: str | None = None
    is_blind: bool = False

    def link(self, **changed: Value) -> str:
        """Return the address of this view with some values changed; None leaves one out."""
        values: dict[str, Value] = {
            "feed": self.feed,
            "month": f"{self.month:%Y-%m}" if self.month != self.months[-1] else None,
            "neighborhood": self.neighborhood,
            "estimator": self.estimator,
            "case": self.case,
            BLIND: [BLIND] if self.is_blind else [],
        }
        return PATH + search_of(values | changed, CONTROLS)


def selection_of(
    values: dict[str, Value], snapshot: Snapshot
) -> tuple[Selection, Effects, tuple[str, ...]] | None:
    """Return what an address's values choose, its effects, and a sentence for each that is wrong.

    None where the published file has no effects.
    """
    by_feed = months_by_feed(snapshot)
    if not by_feed:
        return None
    problems = []
    feed = str(values.get("feed") or next(iter(by_feed)))
    if feed not in by_feed:
        problems.append(f"feed {feed}: it has no effects; there are {', '.join(by_feed)}.")
        feed = next(iter(by_feed))
    month, problem = month_in(values.get("month"), by_feed[feed])
    problems += problem
    effects = effects_of(snapshot, feed, month)
    neighborhood = str(values.get("neighborhood") or effects.surest)
    if neighborhood not in effects.neighborhoods:
        problems.append(f"neighborhood {neighborhood}: no case of it was compared this month.")
        neighborhood = effects.surest
    estimator = str(values.get("estimator") or effects.headline_estimator)
    if estimator not in effects.estimators:
        problems.append(f"estimator {estimator}: there are {', '.join(effects.estimators)}.")
        estimator = effects.headline_estimator
    blind = values.get(BLIND) or []
    if isinstance(blind, list) and set(blind) - {BLIND}:
        problems.append(f"blind {', '.join(blind)}: it can only be {BLIND}.")
    case = values.get("case")
    chosen = Selection(
        feed=feed,
        month=month,
        months=by_feed[feed],
        neighborhood=neighborhood,
        estimator=estimator,
        case=None if case is None else str(case),
        is_blind=isinstance(blind, list) and BLIND in blind,
    )
    return chosen, effects, tuple(problems)


async def shown_of(
    snapshots: Snapshots,
    values: dict[str, Value],
    show: Callable[[Snapshot, Effects, Selection, tuple[str, ...]], Shown],
) -> Shown:
    """Return what is shown of the month that is chosen; `show` runs in a thread."""

    def look() -> Shown:
        with snapshots.current() as snapshot:
            found = selection_of(values, snapshot)
            if found is None:
                raise dash.exceptions.PreventUpdate
            chosen, effects, problems = found
            return show(snapshot, effects, chosen, problems)

    return await to_thread(look)
