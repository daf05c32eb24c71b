"""Sentences whose numbers are links, and numbers as people read them."""

from dataclasses import dataclass

from city311_assets.gold.methods.arrays import Floats


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a sentence; with `search` a link to the view that shows the number."""

    text: str
    search: str | None = None


@dataclass(frozen=True, slots=True)
class Sentence:
    """One finding: what kind it is, and its pieces in order."""

    kind: str
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The whole sentence without its links."""
        return "".join(part.text for part in self.parts)


def percent(share: float) -> str:
    """Return a share as people read it: whole percent, finer where it is small or nearly all."""
    digits = 1 if 0 < share < 0.1 or 0.99 < share < 1 else 0
    return f"{100 * share:.{digits}f} %"


def percents(shares: Floats) -> list[str]:
    """Return shares as `percent` does, thousands at once; one that is not a number is said so."""
    fine = ((shares > 0) & (shares < 0.1)) | ((shares > 0.99) & (shares < 1))
    return [
        f"{share:.1f} %" if is_fine else f"{share:.0f} %"
        for share, is_fine in zip((100 * shares).tolist(), fine.tolist(), strict=True)
    ]


def between(low: float, high: float) -> str:
    """Return an interval of a share: `95 % interval 4.1 % to 12 %`."""
    return f"95 % interval {percent(low)} to {percent(high)}"


def times(ratio: float) -> str:
    """Return a ratio: `1.24 times`."""
    return f"{ratio:,.1f} times" if ratio >= 10 else f"{ratio:.2f} times"


def times_between(low: float, high: float | None) -> str:
    """Return the interval of a ratio; its upper end may be unknown."""
    if high is None:
        return f"95 % interval {low:.2f} and more"
    return f"95 % interval {low:.2f} to {high:.2f}"


def per_day(records: float) -> str:
    """Return a rate a day: `12.3 a day`."""
    return f"{records:,.0f} a day" if records >= 100 else f"{records:.1f} a day"


def duration(hours: float) -> str:
    """Return hours in the unit people say them in."""
    if hours < 1:
        return f"{hours * 60:.0f} minutes"
    if hours < 72:
        return f"{hours:.1f} hours"
    return f"{hours / 24:.1f} days"


def probability(q: float) -> str:
    """Return a small probability: `0.012`, or that it is below a thousandth."""
    return "below 0.001" if q < 0.001 else f"{q:.3f}"
