"""Where cases lie on the maps: UMAP in 2 and 3 dimensions, which do not spin between months."""

from functools import partial

import dagster as dg
import numpy as np
import polars as pl

from city311_assets.atlas.neighbors import SEED
from city311_assets.atlas.windows import matrix, stored_graph
from city311_assets.feeds.feed import Feed
from city311_assets.partitions import BY_YEAR, MONTHS, Slice, note_days
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.resource import Session, Warehouse
from city311_assets.warehouse.tables.atlas import EMBEDDINGS, NEIGHBORS, PROJECTIONS

FLAT, SOLID = ["x", "y"], ["x3", "y3", "z3"]
NEAREST = 5
VECTORS = f"""
    select record_id, embedding from {EMBEDDINGS} where feed = $feed and embedding_model = $model
        and (record_id, day) in (select (record_id, day) from cases)
"""
BEFORE = f"""
    select record_id, x, y, x3, y3, z3 from {PROJECTIONS} where feed = $feed and month = $before
"""
OFF_THE_MAP = f"""
    select month, record_id from {PROJECTIONS} where {PROJECTIONS.where} and (
        not isfinite(x) or not isfinite(y)
        or not isfinite(x3) or not isfinite(y3) or not isfinite(z3)
        or len(nearest_ids) > {NEAREST})
"""
NOT_ON_THE_MAP = f"""
    select month, record_id from {NEIGHBORS} where {NEIGHBORS.where}
        and (month, record_id) not in
            (select (month, record_id) from {PROJECTIONS} where {PROJECTIONS.where})
"""


def _known(
    session: Session, params: dict[str, object], cases: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the cases' vectors, and where cases lay the month before, of the same moment."""
    session.prepare(EMBEDDINGS, PROJECTIONS)
    vectors = session.read(VECTORS, params, cases=cases.select("record_id", "day"))
    return vectors, session.read(BEFORE, params)


def projections(feed: Feed) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one feed's maps, and what must hold of them."""
    key = PROJECTIONS.key(feed.name)

    @dg.asset(
        key=key,
        deps=[NEIGHBORS.key(feed.name)],
        partitions_def=MONTHS,
        backfill_policy=BY_YEAR,
        metadata=PROJECTIONS.metadata | {"look_back_months": 1},
        kinds={"duckdb", "umap"},
        description=f"Positions of the cases of {feed.title} on a flat and a solid map of each "
        "month, aligned with the month before, and their nearest cases.",
    )
    def projections(
        context: dg.AssetExecutionContext, warehouse: Warehouse
    ) -> dg.MaterializeResult:
        """Maps of one feed in months."""
        from city311_assets.atlas.methods.layout import Positions, layout

        part = Slice.of(context, feed.name)
        found = {}
        for month in part.months:
            cases, graph = stored_graph(warehouse, feed, part, month)
            model = cases["embedding_model"].head(1).to_list()
            before_month = part.month(month).reaching_back(months=1).start
            params = {"feed": feed.name, "model": "".join(model), "before": before_month}
            vectors, before = warehouse.write(partial(_known, params=params, cases=cases))
            ordered = cases.join(vectors, on="record_id", how="left", maintain_order="left")
            known = cases.select("record_id").with_row_index("row").join(before, on="record_id")
            known = known.sort("row")
            drawn = layout(
                graph,
                matrix(ordered["embedding"]),
                seed=SEED,
                before=Positions(
                    known["row"].to_numpy().astype(np.int64),
                    known.select(FLAT).to_numpy(),
                    known.select(SOLID).to_numpy(),
                )
                if known.height
                else None,
            )
            nearest = [
                cases["record_id"].gather(row[row >= 0][:NEAREST].astype(np.int64)).to_list()
                for row in graph.indices
            ]
            rows = cases.with_columns(
                pl.lit(feed.name).alias("feed"),
                pl.lit(month).alias("month"),
                *(pl.Series(name, drawn.flat[:, at], pl.Float32) for at, name in enumerate(FLAT)),
                *(pl.Series(name, drawn.solid[:, at], pl.Float32) for at, name in enumerate(SOLID)),
                pl.Series("nearest_ids", nearest, pl.List(pl.String)),
            ).select(PROJECTIONS.names)
            warehouse.replace(PROJECTIONS, rows, part.month(month))
            figures = pl.DataFrame({"month": [month], "rows": [rows.height]})
            note_days(context, key, figures, part.month(month))
            found[month.isoformat()] = {"cases": rows.height, "known_before": known.height}
        return dg.MaterializeResult(metadata={"months": dg.MetadataValue.json(found)})

    claims = [
        Property(
            "on_the_map",
            "Every position is a number, and a case has at most 5 nearest.",
            OFF_THE_MAP,
        ),
        Property(
            "every_case_of_the_graph",
            "Every case of the month's graph has a position.",
            NOT_ON_THE_MAP,
        ),
    ]
    return [projections, slice_checks(claims, PROJECTIONS, feed.name, [NEIGHBORS])]
