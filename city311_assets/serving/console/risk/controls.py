"""The controls of the Risk page that its address carries, and what their values mean.

What belongs here: which day, layer, cell and hours are asked for, and what of it makes no sense.
What does not: the answers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from city311_assets.risk.targets.registry import TARGETS
from city311_assets.risk.targets.target import Target
from city311_assets.serving.console.risk.queries import days_scored
from city311_assets.serving.console.url_state import Control, Value
from city311_assets.serving.snapshots import Snapshot
from city311_assets.settings import settings

TARGET, DAY, LAYER, CELL, HOURS = (
    f"risk-{name}" for name in ("target", "day", "layer", "cell", "hours")
)
LAYERS = {
    "probability": "chance of a call in 7 days",
    "cost": "expected cost of 7 days",
    "recommendations": "what to do where",
}
DEFAULT_LAYER = "probability"
# The slider reaches so many times the setting.
MOST_TIMES = 4
NEAREST = 3
SLIDER = "risk-slider"
CELL_DIGITS = re.compile(r"[0-9a-f]{15}")


def controls() -> tuple[Control, ...]:
    """Return the controls; the hours' default is a setting."""
    return (
        Control(TARGET, "target", default=next(iter(TARGETS))),
        Control(DAY, "day", prop="date"),
        Control(LAYER, "layer", default=DEFAULT_LAYER),
        Control(CELL, "cell", default=""),
        # A store: the slider itself breaks on what is no number.
        Control(HOURS, "hours", "number", settings().risk_crew_hours, prop="data"),
    )


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is asked for.

    Attributes
    ----------
    day
        None where there are no scores of the day asked for, or none at all.
    nearest
        Then the nearest days with scores.
    cell
        H3, hex; empty where none is chosen.
    problems
        Sentences about values that made no sense and were replaced.
    """

    target: Target
    day: date | None
    nearest: tuple[date, ...]
    layer: str
    cell: str
    hours: float
    problems: tuple[str, ...] = ()


def chosen(values: Mapping[str, Value], snapshot: Snapshot) -> Chosen:
    """Return what is asked for; what makes no sense is named and replaced."""
    problems: list[str] = []
    name = values.get("target")
    if not isinstance(name, str) or name not in TARGETS:
        problems.append(f"There is no target {name!r}; there are {', '.join(TARGETS)}.")
        name = next(iter(TARGETS))
    target = TARGETS[name]
    layer = values.get("layer")
    if not isinstance(layer, str) or layer not in LAYERS:
        problems.append(f"There is no layer {layer!r}; there are {', '.join(LAYERS)}.")
        layer = DEFAULT_LAYER
    usual = settings().risk_crew_hours
    hours = values.get("hours")
    if not isinstance(hours, int | float) or not 0 <= hours <= MOST_TIMES * usual:
        problems.append(f"Crew hours are 0 to {MOST_TIMES * usual:g}, not {hours!r}.")
        hours = usual
    day, nearest = _day(values.get("day"), days_scored(snapshot, target.name), problems)
    cell = _cell(values.get("cell"), problems)
    return Chosen(target, day, nearest, layer, cell, float(hours), tuple(problems))


def _day(
    given: Value, days: list[date], problems: list[str]
) -> tuple[date | None, tuple[date, ...]]:
    if not days:
        return None, ()
    if given is None:
        return days[-1], ()
    try:
        # A picker may say the time of day too.
        wanted = date.fromisoformat(str(given)[:10])
    except ValueError:
        problems.append(f"{given!r} is no day like 2026-01-31; shown is the newest.")
        return days[-1], ()
    if wanted in set(days):
        return wanted, ()
    nearest = sorted(days, key=lambda day: abs((day - wanted).days))[:NEAREST]
    return None, tuple(sorted(nearest))


def _cell(given: Value, problems: list[str]) -> str:
    text = str(given or "").strip().lower()
    if not text:
        return ""
    if not CELL_DIGITS.fullmatch(text):
        problems.append(f"{given!r} is no cell: give the 15 hex digits of an H3 cell.")
        return ""
    return text
