"""How numbers of cases and clusters are said: units, signs, and what is not known."""

from math import isfinite

UNKNOWN = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
HOURS_IN_DAYS_FROM = 72
STEADY_WITHIN = 0.05


def hours(value: float | None) -> str:
    """Return hours as a person says them: `< 1 h`, `36 h`, `5.2 d`."""
    if value is None:
        return UNKNOWN
    if value < 1:
        return "< 1 h"
    return f"{value:.0f} h" if value < HOURS_IN_DAYS_FROM else f"{value / 24:.1f} d"


def percent(value: float | None) -> str:
    """Return a share in percent."""
    return UNKNOWN if value is None else f"{100 * value:.1f} %"


def growth(value: float | None) -> str:
    """Return a cluster's growth (its share of the newest month over the one before, less 1)."""
    if value is None:
        return "no month before"
    if abs(value) < STEADY_WITHIN:
        return "about as before"
    return f"{'growing' if value > 0 else 'shrinking'} {signed(100 * value, 0)} %"


def signed(value: float | None, digits: int = 1) -> str:
    """Return a number with its sign; nothing is minus zero once it is rounded."""
    if value is None or not isfinite(value):
        return UNKNOWN
    text = f"{abs(value):,.{digits}f}"
    if not float(text.replace(",", "")):
        return text
    return f"{'+' if value > 0 else MINUS}{text}"


def plain(value: float | None, digits: int = 1) -> str:
    """Return a number without a plus."""
    return signed(value, digits).removeprefix("+")


def short(text: str, letters: int) -> str:
    """Return the beginning of a text, and a mark where it goes on."""
    return text if len(text) <= letters else f"{text[: letters - 1].rstrip()}…"


def counted(count: int, one: str, many: str = "") -> str:
    """Return a number with its noun: `1 case`, `1,200 cases`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
