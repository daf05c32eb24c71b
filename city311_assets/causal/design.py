"""Design: everything that is needed to repeat a month's effects, and who was left out of them."""

from datetime import date, timedelta

import dagster as dg
import polars as pl

from city311_assets.causal.att import RANDOMIZATIONS
from city311_assets.causal.populations import (
    SEED,
    STRATA,
    Population,
    limit_hours,
    population,
)
from city311_assets.causal.windows import metadata
from city311_assets.feeds.feed import Feed
from city311_assets.gold.slices import Held
from city311_assets.partitions import BY_YEAR, MONTHS, Slice
from city311_assets.settings import settings
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.months import replace_months
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.causal import DESIGN, MATCHED_PAIRS

LEFT_OUT = (
    "administrative",
    "duplicates",
    "without_neighborhood",
    "without_vector",
    "without_time",
    "not_sampled",
)
DOES_NOT_ADD_UP = f"""
    select month from {DESIGN} where {DESIGN.where}
        and cases <> {" + ".join(LEFT_OUT)} + immature + compared
"""
DISTANCE = "Cosine of the unit vectors of what cases show and say"


def design_rows(people: Population) -> pl.DataFrame:
    """Return the one row of a month."""
    said, mature = settings(), people.mature
    maturity = people.ends_at - timedelta(hours=limit_hours())
    row = {
        "window_first_day": people.span.start,
        "window_last_day": people.span.end - timedelta(days=1),
        "maturity_at_utc": maturity if people.in_window else None,
        "cases": people.in_window,
        **{reason: people.left_out[reason] for reason in LEFT_OUT},
        "immature": people.size - mature.size,
        "compared": mature.size,
        "neighborhoods": len(mature.neighborhoods),
        "strata_of": [*STRATA],
        "strata": mature.strata_names.n_unique(),
        "distance": DISTANCE,
        "caliper_share": said.causal_caliper,
        "k": said.causal_controls,
        "limit_hours": limit_hours(),
        "randomizations": RANDOMIZATIONS,
        "seed": SEED,
        "embedding_model": people.model,
    }
    return pl.DataFrame([row]).cast(
        {"maturity_at_utc": pl.Datetime("us"), "k": pl.Int32, "randomizations": pl.Int32}
    )


def design(feed: Feed) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one feed's record of design, and what must hold of it."""

    @dg.asset(
        key=DESIGN.key(feed.name),
        deps=[MATCHED_PAIRS.key(feed.name)],
        partitions_def=MONTHS,
        backfill_policy=BY_YEAR,
        metadata=metadata(DESIGN),
        kinds={"duckdb"},
        description=f"How the effects of {feed.title} came about: who is compared, who was left "
        "out and why, the choices and the seed.",
    )
    def design(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
        """Designs of one feed in months."""

        def rows_of(part: Slice, month: date) -> tuple[pl.DataFrame, dict[str, object]]:
            of_month = part.month(month)
            people = population(warehouse, feed, part, month)
            is_open = Held.of(warehouse, feed, of_month).is_provisional_until(of_month.end)
            rows = design_rows(people).with_columns(pl.lit(is_open).alias("is_provisional"))
            return rows, {"cases": people.in_window, "compared": people.mature.size}

        return replace_months(context, warehouse, DESIGN, feed.name, rows_of)

    claims = [
        Property(
            "adds_up",
            "Every request of the window is compared or left out for one reason.",
            DOES_NOT_ADD_UP,
        )
    ]
    return [design, slice_checks(claims, DESIGN, feed.name)]
