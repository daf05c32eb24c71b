"""Matched pairs: each mature case and the cases elsewhere that are most like it.

Alike are the texts; category, source channel and half-year are the same. More pairs are kept than
the headline uses, and those outside the caliper too: other choices are made of them.
"""

from datetime import date

import dagster as dg
import polars as pl

from city311_assets.causal.populations import SEED, Population, population
from city311_assets.causal.windows import metadata
from city311_assets.feeds.feed import Feed
from city311_assets.partitions import BY_YEAR, MONTHS, Slice
from city311_assets.settings import settings
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.months import replace_months, schema_of
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.atlas import CLUSTERS, EMBEDDINGS
from city311_assets.warehouse.tables.causal import MATCHED_PAIRS
from city311_assets.warehouse.tables.silver import REQUESTS

AT_HOME = f"""
    select month, record_id from {MATCHED_PAIRS} where {MATCHED_PAIRS.where}
        and neighborhood = control_neighborhood
"""
NO_WHOLE_WEIGHT = f"""
    select month, record_id from {MATCHED_PAIRS} where {MATCHED_PAIRS.where}
    group by month, record_id having abs(sum(weight) - 1) > 1e-6
"""
UNLIKE_FIRST = f"""
    select month, record_id from {MATCHED_PAIRS} where {MATCHED_PAIRS.where}
    qualify similarity > 1e-5 + lag(similarity) over (
        partition by month, record_id order by match_rank)
"""


def pair_rows(people: Population, k: int, share: float) -> pl.DataFrame:
    """Return the pairs of mature cases as rows: those of the widest choice, and who is used."""
    from city311_assets.causal.methods.disparities import K_CHOICES
    from city311_assets.causal.methods.matching import match_in_strata, similarity_floors

    if not people.size:
        return pl.DataFrame(schema=schema_of(MATCHED_PAIRS))
    pairs = match_in_strata(
        people.vectors,
        people.strata,
        people.groups,
        max(k, *K_CHOICES),
        nearness=people.opening_day,
    )
    floors = similarity_floors(people.vectors, people.strata, share, SEED)
    is_within = pairs.similarity >= floors[pairs.treated] if len(pairs.treated) else []
    used = pairs.above(floors).nearest(k)
    weights = pl.DataFrame(
        {"treated": used.treated, "control": used.control, "weight": used.weight}
    )
    cases = people.cases.select("record_id", "day", "neighborhood").with_columns(
        people.strata_names.alias("stratum"),
        pl.Series("restricted_hours", people.restricted_hours),
    )
    names = {column: f"control_{column}" for column in ("day", "neighborhood", "restricted_hours")}
    found = pl.DataFrame(
        {
            "treated": pairs.treated,
            "control": pairs.control,
            "match_rank": pl.Series(pairs.rank, dtype=pl.Int32),
            "similarity": pairs.similarity.clip(-1, 1),
            "is_within_caliper": pl.Series(is_within, dtype=pl.Boolean),
        }
    )
    return (
        pl.concat(
            [
                found,
                cases[pairs.treated],
                cases[pairs.control].drop("stratum").rename(names | {"record_id": "control_id"}),
            ],
            how="horizontal",
        )
        .join(weights, on=["treated", "control"], how="left", maintain_order="left")
        .with_columns(pl.lit(people.model).alias("embedding_model"))
    )


def matched_pairs(feed: Feed) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one feed's matched pairs, and what must hold of them."""
    key = MATCHED_PAIRS.key(feed.name)

    @dg.asset(
        key=key,
        deps=[
            REQUESTS.key(feed.name),
            EMBEDDINGS.key(feed.name),
            # A month is matched with the model that its map was drawn with.
            CLUSTERS.key(feed.name),
        ],
        partitions_def=MONTHS,
        backfill_policy=BY_YEAR,
        metadata=metadata(MATCHED_PAIRS),
        kinds={"duckdb", "numpy"},
        description=f"Cases of {feed.title} by month's window, each beside the most similar cases "
        "of other neighbourhoods with the same category, source channel and half-year.",
    )
    def matched_pairs(
        context: dg.AssetExecutionContext, warehouse: Warehouse
    ) -> dg.MaterializeResult:
        """Matched pairs of one feed in months."""

        def rows_of(part: Slice, month: date) -> tuple[pl.DataFrame, dict[str, object]]:
            people = population(warehouse, feed, part, month).mature
            rows = pair_rows(people, settings().causal_controls, settings().causal_caliper)
            return rows, {
                "mature_cases": people.size,
                "matched": rows.filter("is_within_caliper")["record_id"].n_unique(),
                "neighborhoods": len(people.neighborhoods),
            }

        return replace_months(context, warehouse, MATCHED_PAIRS, feed.name, rows_of)

    claims = [
        Property("elsewhere", "No case is compared with one of its own neighbourhood.", AT_HOME),
        Property(
            "weights_are_whole", "The weights of a case's controls sum to 1.", NO_WHOLE_WEIGHT
        ),
        Property("most_alike_first", "A case's controls are ranked by similarity.", UNLIKE_FIRST),
    ]
    return [matched_pairs, slice_checks(claims, MATCHED_PAIRS, feed.name)]
