"""The gate: which candidate may score days, and why the others may not.

What belongs here: the rule. What does not: the figures, and what is done with the winner.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from city311_assets.risk.methods.candidates import BASELINES, LEARNERS


@dataclass(frozen=True, slots=True)
class Standing:
    """How a candidate did over the last origins.

    Attributes
    ----------
    brier
        Brier score of all their cell-days.
    precision_top_1pct
        Share with an event among each day's 1 % of cells of the highest probability.
    cell_days, origins
        What they are of.
    """

    brier: float
    precision_top_1pct: float
    cell_days: int
    origins: int

    @classmethod
    def pooled(cls, figures: Iterable[tuple[float, float, int]]) -> Self:
        """Return the standing over origins of which each has (brier, precision, cell-days).

        The same cells are forecast at every origin, so both figures weigh by cell-days.
        """
        rows = [*figures]
        total = sum(cell_days for *_, cell_days in rows)
        if not total:
            raise ValueError("a candidate was tested on no cell-day; it has no standing")
        return cls(
            sum(brier * n for brier, _, n in rows) / total,
            sum(precision * n for _, precision, n in rows) / total,
            total,
            len(rows),
        )


def promoted(standings: Mapping[str, Standing]) -> tuple[str, str]:
    """Return the kind that is served, and why.

    Of the learners that beat every baseline on Brier and on precision at 1 % the one of the lowest
    Brier score is; where none does, the baseline of the lowest Brier score is.

    Raises
    ------
    ValueError
        A baseline has no standing: there is nothing to beat.
    """
    if missing := sorted({*BASELINES} - {*standings}):
        raise ValueError(f"the baselines {missing} have no figures; a model must beat each of them")
    baseline = _best(standings, BASELINES)
    learners = [kind for kind in LEARNERS if kind in standings]
    if not learners:
        return _named(baseline), f"{baseline} serves: too few events to learn from"
    unbeaten = {kind: _unbeaten(kind, standings) for kind in learners}
    best = _best(standings, [kind for kind in learners if not unbeaten[kind]])
    if best is None:
        why = "; ".join(line for lines in unbeaten.values() for line in lines)
        return _named(baseline), f"{baseline} serves: {why}"
    own = standings[best]
    return best, (
        f"{best} beats every baseline on Brier ({_four(own.brier)}) and on precision at 1 % "
        f"({_four(own.precision_top_1pct)}) over {own.origins} origins"
    )


def reasons(standings: Mapping[str, Standing]) -> dict[str, str]:
    """Return why each candidate is served, or is not."""
    winner, why = promoted(standings)
    found = {}
    for kind in standings:
        if kind == winner:
            found[kind] = why
        elif kind in BASELINES:
            found[kind] = f"a baseline; {winner} serves"
        elif unbeaten := _unbeaten(kind, standings):
            found[kind] = "; ".join(unbeaten)
        else:
            found[kind] = f"{winner} has a lower Brier score ({_four(standings[winner].brier)})"
    return found


def _best(standings: Mapping[str, Standing], kinds: Iterable[str]) -> str | None:
    """Return the kind of the lowest Brier score, the first of equals; None without any."""
    there = [kind for kind in kinds if kind in standings]
    return min(there, key=lambda kind: standings[kind].brier, default=None)


def _unbeaten(kind: str, standings: Mapping[str, Standing]) -> list[str]:
    """Return what a candidate did not do better than a baseline, in words."""
    own = standings[kind]
    found = []
    for name in BASELINES:
        theirs = standings[name]
        # Turned round, so that a figure that is no number beats nothing.
        if not own.brier < theirs.brier:
            found.append(f"Brier {_four(own.brier)} is not below {_four(theirs.brier)} of {name}")
        if not own.precision_top_1pct > theirs.precision_top_1pct:
            found.append(
                f"precision at 1 % {_four(own.precision_top_1pct)} is not above "
                f"{_four(theirs.precision_top_1pct)} of {name}"
            )
    return [f"{kind}: {why}" for why in found]


def _named(kind: str | None) -> str:
    if kind is None:
        raise ValueError("no candidate has a standing")
    return kind


def _four(figure: float) -> str:
    return f"{figure:.4f}"
