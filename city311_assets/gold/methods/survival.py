"""How long until a share of cases is closed, when some are still open: Kaplan-Meier.

What belongs here: quantiles of times that are partly censored. What does not: when a case counts as
closed, and until when it was watched.
"""

from collections.abc import Sequence

import polars as pl

# Far above what rounding adds to a curve of a million steps, far below what one case takes from it:
# a curve that ends up at the share itself has reached it.
TIE = 1e-10


def quantiles(
    times: pl.DataFrame, by: list[str], shares: Sequence[float] = (0.5, 0.9)
) -> pl.DataFrame:
    """Return the hours after which shares of each group's cases are closed.

    The product-limit estimate (Kaplan & Meier 1958, https://doi.org/10.1080/01621459.1958.10501452):
    the first time at which the share still open is 1 - share or less. It is invalid where cases are
    no longer watched because of how long they take.

    Parameters
    ----------
    times
        One row a case: the columns of `by`, `hours` (to closing, or for as long as it was seen
        open) and `is_closed`. A case last seen open at the hour another closed was at risk then.
    by
        What makes a group; null is a group as well.
    shares
        Between 0 and 1, both excluded.

    Returns
    -------
    pl.DataFrame
        One row a group, sorted: the columns of `by`, `timed` (cases), `closed` (those of them
        that closed) and one column of hours a share, named in percent (`q50`). Null where the
        curve never gets there.

    Raises
    ------
    ValueError
        If hours are negative, infinite or unknown, or a share is not between 0 and 1.
    """
    if strange := sorted(share for share in shares if not 0 < share < 1):
        raise ValueError(f"shares {strange} are not between 0 and 1")
    hours, is_closed = pl.col("hours"), pl.col("is_closed")
    is_usable = hours.is_finite() & (hours >= 0) & is_closed.is_not_null()
    unusable = times.filter(~is_usable.fill_null(value=False))
    if unusable.height:
        culprits = unusable.select(*by, "hours", "is_closed").head(5).rows()
        raise ValueError(f"{unusable.height} cases have no time that can be: {culprits}")

    groups = (
        times.group_by(by)
        .agg(timed=pl.len().cast(pl.Int64), closed=is_closed.sum().cast(pl.Int64))
        .sort(by)
        .with_row_index("stratum")
    )
    curve = _curve(
        times.join(groups.select(*by, "stratum"), on=by, nulls_equal=True).select(
            "stratum", "hours", "is_closed"
        )
    )
    for share in shares:
        is_reached = pl.col("open") <= (1 - share) * (1 + TIE)
        reached = curve.filter(is_reached).group_by("stratum").agg(hours.min().alias(_name(share)))
        groups = groups.join(reached, on="stratum", how="left", maintain_order="left")
    return groups.drop("stratum")


def _curve(cases: pl.DataFrame) -> pl.DataFrame:
    """Return the share `open` after each of a stratum's hours.

    The factors (r - d)/r of the product are taken together with the next one's denominator: without
    a case that left unclosed in between the two cancel to exactly 1. What rounding adds grows with
    the censored times then, not with all, and each stratum has its own product.
    """
    steps = (
        cases.group_by("stratum", "hours")
        .agg(cases=pl.len().cast(pl.Int64), closed=pl.col("is_closed").sum().cast(pl.Int64))
        .sort("stratum", "hours")
        .with_columns(at_risk=pl.col("cases").cum_sum(reverse=True).over("stratum"))
        .with_columns(left=pl.col("at_risk") - pl.col("closed"))
    )
    kept = pl.col("left").shift(1).over("stratum") / pl.col("at_risk")
    return (
        steps.with_columns(kept=kept.fill_null(1.0))
        .with_columns(kept=pl.col("kept").cum_prod().over("stratum"))
        .with_columns(
            open=pl.col("left") / pl.col("at_risk").first().over("stratum") * pl.col("kept")
        )
    )


def _name(share: float) -> str:
    """Return the column of a share: `q50` of 0.5, `q97.5` of 0.975."""
    return f"q{round(100 * share, 6):.9g}"
