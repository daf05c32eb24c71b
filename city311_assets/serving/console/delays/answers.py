"""A neighbourhood's effect in plain words: is it slower, how sure is that, what would explain it.

What belongs here: sentences, made of the rows of a month. What does not: tables and figures.
"""

from typing import Any

import polars as pl

from city311_assets.serving.console.atlas.words import counted, plain, signed
from city311_assets.serving.console.delays.effects import Effects, has_interval, is_sure
from city311_assets.serving.console.delays.names import covariate_name, estimator_name
from city311_assets.serving.effects_page import IMBALANCED_FROM, SIGNIFICANT_BELOW

# Below so many matched cases intervals are somewhat too short (docs/causal.md).
MANY_CASES = 100
NOMINAL = 0.05
DISPARITY = "adjusted disparity, not the effect of a treatment anyone assigned"
REASONS = {
    "too few": "fewer than 30 of its cases could be matched",
    "little support": "fewer than half of its cases have a like case elsewhere",
    "not balanced": "even matched, its cases differ too much from those they are compared with",
}


def verdict(effects: Effects, neighborhood: str) -> str:
    """Return whether the neighbourhood is slower, by the headline, in a sentence or two."""
    row = effects.quoted(neighborhood)
    if row is None:
        return f"It cannot be said: no case of {neighborhood} was compared this month."
    counts = f"{row['n_matched']:,} of {counted(row['n_treated'], 'case')} matched"
    if not has_interval(row):
        why = REASONS.get(row["reason"], row["reason"]) or "no reason is said"
        if row["att_hours"] is None:
            return f"It cannot be said: {why} ({counts})."
        return (
            f"It cannot be said: {why}. Its matched cases took {difference(row['att_hours'])} "
            f"like cases elsewhere, but without an interval that is no evidence ({counts})."
        )
    numbers = (
        f"{neighborhood}'s cases took {difference(row['att_hours'])} like cases elsewhere "
        f"(95 % interval {interval(row)} h; q = {chance(row['q'])}; {counts})."
    )
    if is_sure(row):
        return f"{'Yes' if row['att_hours'] > 0 else 'No, the other way round'}: {numbers}"
    if row["low"] <= 0 <= row["high"]:
        why = "The interval holds zero: it could be slower, faster, or neither."
    else:
        why = (
            f"The interval leaves zero out, but {tested(effects)} neighbourhoods were tested, and "
            f"among so many that can be chance: q is not below {SIGNIFICANT_BELOW:g}."
        )
    return f"Not shown: {numbers} {why}"


def reservations(effects: Effects, neighborhood: str) -> list[str]:
    """Return how sure it is and what would explain it away, a sentence each."""
    row, trust = effects.quoted(neighborhood), effects.trust(neighborhood)
    said = []
    if row and has_interval(row) and row["n_matched"] < MANY_CASES:
        said.append(
            f"Fewer than {MANY_CASES} matched cases: such intervals come out somewhat too short."
        )
    if row and row["is_contradicted"] is not None:
        said.append(
            "The doubly robust cross-check (AIPW) is further away than their joint error: do not "
            "quote one alone."
            if row["is_contradicted"]
            else "The doubly robust cross-check (AIPW) agrees within their joint error."
        )
    if trust:
        # What would be said of an estimate reads as support for one that there is not.
        said += _choices(trust) + (_hidden_cause(trust) if row and has_interval(row) else [])
    if off := imbalanced(effects, neighborhood):
        listed = ", ".join(f"{covariate_name(name)} ({plain(abs(smd), 2)})" for name, smd in off)
        said.append(
            f"Still out of balance after matching, |SMD| above {IMBALANCED_FROM:g}: {listed}. What "
            "is left of these differences may be in the estimate."
        )
    said += _placebos(effects.month.placebo)
    return said


def once_published(effects: Effects, neighborhood: str) -> str | None:
    """Return what the naive estimator says of it; None where it says nothing."""
    rows = effects.month.att.filter(
        pl.col("estimator") == "naive", pl.col("neighborhood") == neighborhood
    )
    if rows.is_empty() or rows["att_hours"][0] is None:
        return None
    row = rows.row(0, named=True)
    ends = f" (bootstrap interval {interval(row)} h)" if has_interval(row) else ""
    return (
        f"The naive way, as once published, says {signed(row['att_hours'])} h{ends}: closed cases "
        "only, with an interval that is not valid for matched pairs. For comparison only."
    )


def summary(effects: Effects) -> str:
    """Return which neighbourhoods differ by the headline, in a sentence."""
    rows = effects.headline.filter(
        pl.all_horizontal(pl.col("att_hours", "low", "high").is_not_null())
    )
    sure = [row for row in rows.sort("att_hours", descending=True).to_dicts() if is_sure(row)]
    how = (
        f"the headline, {estimator_name(effects.headline_estimator)} with "
        f"{effects.headline_k} controls each"
    )
    hours = f"{effects.design['limit_hours']:g} h"
    limit = f"A case counts with its hours to close, at most {hours}."
    if rows.is_empty():
        return f"By {how}, no neighbourhood has an interval this month. {limit}"
    listed = ", ".join(f"{row['neighborhood']} {signed(row['att_hours'])} h" for row in sure)
    return (
        f"By {how}, {len(sure)} of {counted(rows.height, 'neighbourhood')} with an interval "
        f"{'differs' if len(sure) == 1 else 'differ'} from like cases elsewhere at q < "
        f"{SIGNIFICANT_BELOW:g}{': ' if listed else ''}{listed}. {limit}"
    )


def imbalanced(effects: Effects, neighborhood: str) -> list[tuple[str, float]]:
    """Return the covariates that matching leaves out of balance, the worst first."""
    rows = effects.month.balance.filter(
        pl.col("neighborhood") == neighborhood, pl.col("smd_after").abs() > IMBALANCED_FROM
    )
    return (
        rows.sort(pl.col("smd_after").abs(), descending=True)
        .select("covariate", "smd_after")
        .rows()
    )


def tested(effects: Effects) -> int:
    """Return how many neighbourhoods were tested together."""
    return effects.headline["p"].count()


def difference(hours: float) -> str:
    """Return hours more or less as words: `9.5 h longer than`, `6.2 h less than`."""
    amount = plain(abs(hours))
    if not float(amount.replace(",", "")):
        return "just as long as"
    return f"{amount} h {'longer' if hours > 0 else 'less'} than"


def interval(row: dict[str, Any]) -> str:
    """Return a row's interval: `7.5 to 11.5`."""
    return f"{plain(row['low'])} to {plain(row['high'])}"


def chance(value: float | None) -> str:
    """Return a probability with three digits."""
    return plain(value) if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _choices(trust: dict[str, Any]) -> list[str]:
    if trust["lowest_att_hours"] is None:
        return []
    sign = "always with the same sign" if trust["is_sign_stable"] else "with either sign"
    ends = f"{signed(trust['lowest_att_hours'])} to {signed(trust['highest_att_hours'])} h"
    ways = counted(trust["choices"], "choice")
    return [f"Over {ways} of how many controls and how alike, it runs from {ends}, {sign}."]


def _hidden_cause(trust: dict[str, Any]) -> list[str]:
    said = []
    if trust["rosenbaum_gamma"] is None:
        said.append(
            "Even without any hidden cause a rank test of its pairs could be chance (no Γ)."
        )
    else:
        said.append(
            "To be explained away it needs a hidden cause that changes the odds of the longer wait "
            f"within a pair {plain(trust['rosenbaum_gamma'], 2)}-fold (Rosenbaum's Γ, on "
            f"{counted(trust['gamma_pairs'], 'pair')})."
        )
    if trust["e_value"] is not None:
        said.append(
            "Or one that goes with both the neighbourhood and the wait by a risk ratio of "
            f"{plain(trust['e_value'], 2)} (E-value; "
            f"{plain(trust['e_value_of_interval'], 2)} for the interval's nearer end)."
        )
    return said


def _placebos(placebo: pl.DataFrame) -> list[str]:
    """Say where what cannot have an effect comes out significant too often."""
    apart = placebo.filter(pl.col("share_low") > NOMINAL)
    return [
        f"This month {100 * row['share_significant']:.0f} % of the placebos of "
        f"{row['placebo'].replace('_', ' ')} are significant, more than 5 %: intervals are too "
        "short."
        for row in apart.iter_rows(named=True)
    ]
