"""What each cluster is called, how large it is, how it grows and how long its cases wait."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial

import dagster as dg
import polars as pl

from city311_assets.atlas.ledger import Ledger
from city311_assets.atlas.ledger import figures as call_figures
from city311_assets.atlas.prompts import CLUSTER_NAMES_SYSTEM, ClusterName, ClusterNames, as_data
from city311_assets.atlas.slices import texts_of, window_of
from city311_assets.atlas.windows import stored_graph
from city311_assets.bronze.sources import Sources
from city311_assets.feeds.feed import Feed
from city311_assets.gold.methods.counts import STILL_OPEN
from city311_assets.partitions import BY_YEAR, MONTHS, Slice, note_days
from city311_assets.settings import settings
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.atlas import CLUSTER_NAMES, CLUSTERS
from city311_assets.warehouse.tables.silver import REQUESTS

logger = logging.getLogger(__name__)

OUTLIER = -1
WORDS_SAID = 3
CAPTIONS_SHOWN = 6
CLUSTERS_A_CALL = 20
TOKENS_A_NAME = 100
QUOTED_CHARACTERS = 120
OF_MONTH = f"""
    select record_id, day, cluster_id, sampling_weight, embedding_model
    from {CLUSTERS} where feed = $feed and month = $month
"""
# As `gold.cell_months` tells times: of work that was asked for, open cases by their age.
HOURS = f"""
    select record_id, hours_to_close is not null as is_closed,
        coalesce(hours_to_close, date_diff('second', opened_at_utc, observed_until) / 3600.0)
            as hours
    from {REQUESTS} where {REQUESTS.where} and not is_administrative
        and (hours_to_close is not null
            or (hours_to_close_reason in $still_open and observed_until >= opened_at_utc))
"""
NAMED_BEFORE = f"""
    select cluster_id, name, name_method, name_model from {CLUSTER_NAMES}
    where feed = $feed and month = $before
"""
SHARED_NAMES = f"""
    select month, lower(name) as kind from {CLUSTER_NAMES} where {CLUSTER_NAMES.where}
    group by all having count(*) > 1
"""
NOT_COUNTED = f"""
    select coalesce(names.month, cases.month) as month, cluster_id as kind from (
        select month, cluster_id, size from {CLUSTER_NAMES} where {CLUSTER_NAMES.where}
    ) as names full join (
        select month, cluster_id, count(*) as counted from {CLUSTERS}
        where {CLUSTERS.where} and cluster_id is not null group by all
    ) as cases using (month, cluster_id)
    where size is distinct from counted
"""


@dataclass(frozen=True, slots=True)
class Name:
    """What a cluster is called, and who called it so; `said` is a model's sentence about it."""

    name: str
    method: str
    model: str | None
    said: str | None = None


@dataclass(frozen=True, slots=True)
class Material:
    """What clusters are named from, by cluster: their keywords and the texts of exemplars."""

    keywords: Mapping[int, list[str]]
    exemplars: Mapping[int, list[str]]
    text_of: Mapping[str, str]

    def asked(self, cluster: int) -> dict[str, object]:
        """Return what a model is shown of a cluster."""
        others = (words for other, words in self.keywords.items() if other != cluster)
        return {
            "cluster_id": cluster,
            "captions": [self.text_of[one] for one in self.exemplars[cluster][:CAPTIONS_SHOWN]],
            "keywords": self.keywords[cluster],
            "contrast": [words[0] for words in others if words],
        }

    def sentence(self, cluster: int) -> str:
        """Return what is said of a cluster where no model says it."""
        words = ", ".join(self.keywords[cluster][:WORDS_SAID])
        example = self.text_of.get(next(iter(self.exemplars[cluster]), ""), "")
        if len(example) > QUOTED_CHARACTERS:
            example = f"{example[:QUOTED_CHARACTERS]}…"
        return f"Cases that speak of {words or 'nothing in particular'}; for example: “{example}”"


def figures(cases: pl.DataFrame, month: date) -> pl.DataFrame:
    """Return size, share, growth, severity and hours of each cluster.

    Parameters
    ----------
    cases
        `record_id, day, cluster_id, sampling_weight, severity`, `hours` to closing or for as long
        as it was seen open (null if neither is known) and `is_closed`; outliers too.
    month
        First day of the newest month of the window.
    """
    from city311_assets.gold.methods.survival import quantiles

    weight, is_new = pl.col("sampling_weight"), pl.col("day") >= month
    timed = cases.drop_nulls(["cluster_id", "hours"])
    medians = quantiles(timed, ["cluster_id"], (0.5,)).select(
        "cluster_id", pl.col("q50").alias("median_hours_to_close")
    )
    new, old = (
        cases.filter(which).select(weight.sum()).item() or 0.0 for which in (is_new, ~is_new)
    )
    return (
        cases.drop_nulls("cluster_id")
        .group_by("cluster_id")
        .agg(
            pl.len().cast(pl.Int64).alias("size"),
            (weight.sum() / (new + old)).alias("share"),
            weight.filter(is_new).sum().alias("new"),
            weight.filter(~is_new).sum().alias("old"),
            pl.col("severity").median().cast(pl.Float64).alias("median_severity"),
        )
        .join(medians, on="cluster_id", how="left")
        .with_columns(
            pl.when((pl.col("old") > 0) & (new > 0))
            .then((pl.col("new") / (new or 1.0)) / (pl.col("old") / (old or 1.0)) - 1)
            .cast(pl.Float64)
            .alias("growth")
        )
        .drop("new", "old")
        .sort("cluster_id")
    )


def cluster_names(feed: Feed) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare the names and figures of one feed's clusters, and what must hold of them."""
    key = CLUSTER_NAMES.key(feed.name)

    @dg.asset(
        key=key,
        deps=[CLUSTERS.key(feed.name), REQUESTS.key(feed.name)],
        partitions_def=MONTHS,
        backfill_policy=BY_YEAR,
        metadata=CLUSTER_NAMES.metadata | {"look_back_months": settings().atlas_window_months - 1},
        kinds={"duckdb", "scikitlearn", "openai"},
        description=f"Names, sizes, growth, severity and hours of the clusters of {feed.title}; a "
        "cluster keeps its name, and no two of a month share one.",
    )
    def cluster_names(
        context: dg.AssetExecutionContext, warehouse: Warehouse, sources: Sources
    ) -> dg.MaterializeResult:
        """Names of one feed's clusters in months."""
        part = Slice.of(context, feed.name)
        found = {}
        with Ledger(warehouse, feed.name, context.run.run_id) as ledger:
            for month in part.months:
                rows = _rows(warehouse, partial(_asked, sources, ledger), feed, part.month(month))
                warehouse.replace(CLUSTER_NAMES, rows, part.month(month))
                counted = pl.DataFrame({"month": [month], "rows": [rows.height]})
                note_days(context, key, counted, part.month(month))
                largest = rows.sort("size", descending=True).head(10)
                found[month.isoformat()] = dict(largest.select("name", "size").rows())
        return dg.MaterializeResult(
            metadata={
                "largest": dg.MetadataValue.json(found),
                "usd": call_figures(ledger.calls)["usd"],
            }
        )

    claims = [
        Property("no_two_alike", "No two clusters of a month share a name.", SHARED_NAMES),
        Property(
            "every_cluster_counted",
            "Every cluster has a name, and as many cases as `atlas.clusters` says.",
            NOT_COUNTED,
        ),
    ]
    return [cluster_names, slice_checks(claims, CLUSTER_NAMES, feed.name, [CLUSTERS])]


def _rows(
    warehouse: Warehouse,
    ask: Callable[[list[dict[str, object]]], list[ClusterName]],
    feed: Feed,
    of_month: Slice,
) -> pl.DataFrame:
    """Return a month's rows; `ask` shows clusters to the model that names them, if one does."""
    from city311_assets.atlas.methods.names import keywords

    month = of_month.start
    span = window_of(of_month, month)
    params = {"feed": feed.name, "month": month, "before": of_month.reaching_back(months=1).start}
    clustered = warehouse.read(OF_MONTH, params, [CLUSTERS])
    texts = texts_of(warehouse, span).drop("day", "caption_method")
    hours = warehouse.read(HOURS, span.params | {"still_open": [*STILL_OPEN]}, [REQUESTS])
    cases = (
        clustered.join(texts, on="record_id", how="left")
        .join(hours, on="record_id", how="left")
        .sort("record_id")
    )
    labels = cases["cluster_id"].fill_null(OUTLIER).to_numpy()
    material = Material(
        keywords(cases["text"].fill_null("").to_list(), labels),
        _exemplars(warehouse, feed, of_month, cases),
        dict(cases.select("record_id", pl.col("text").fill_null("")).iter_rows()),
    )
    kept = {
        row["cluster_id"]: Name(row["name"], row["name_method"], row["name_model"])
        for row in warehouse.read(NAMED_BEFORE, params, [CLUSTER_NAMES]).to_dicts()
        if row["cluster_id"] in material.keywords
    }
    called = kept | names_of(material, kept, ask)
    counted = figures(cases, month)
    ordered = counted["cluster_id"].to_list()
    return counted.with_columns(
        pl.lit(feed.name).alias("feed"),
        pl.lit(month).alias("month"),
        pl.Series("name", [called[c].name for c in ordered], pl.String),
        pl.Series(
            "description", [called[c].said or material.sentence(c) for c in ordered], pl.String
        ),
        pl.Series("keywords", [material.keywords[c] for c in ordered], pl.List(pl.String)),
        pl.Series("exemplar_ids", [material.exemplars[c] for c in ordered], pl.List(pl.String)),
        pl.Series("name_method", [called[c].method for c in ordered], pl.String),
        pl.Series("name_model", [called[c].model for c in ordered], pl.String),
        pl.lit(clustered["embedding_model"].max(), pl.String).alias("embedding_model"),
    ).select(CLUSTER_NAMES.names)


def _exemplars(
    warehouse: Warehouse, feed: Feed, of_month: Slice, cases: pl.DataFrame
) -> dict[int, list[str]]:
    """Return the most central cases of each cluster, most central first."""
    from city311_assets.atlas.methods.names import exemplars

    held, graph = stored_graph(warehouse, feed, of_month, of_month.start)
    ordered = held.select("record_id").join(
        cases.select("record_id", "cluster_id"), on="record_id", how="left", maintain_order="left"
    )
    labels = ordered["cluster_id"].fill_null(OUTLIER).to_numpy()
    return exemplars(graph.indices, graph.similarities, labels, ordered["record_id"].to_list())


def names_of(
    material: Material,
    kept: Mapping[int, Name],
    ask: Callable[[list[dict[str, object]]], list[ClusterName]],
) -> dict[int, Name]:
    """Return names of the clusters that have none: a model's where it gives one, else their words.

    A name is made from data: whatever it says, it is shown as text and names a cluster.
    """
    from city311_assets.atlas.methods.names import named, unique_names

    own = {c: words for c, words in material.keywords.items() if c not in kept}
    answered = {one.cluster_id: one for one in ask([material.asked(c) for c in own])}
    proposed = {c: answered[c].name for c in own if c in answered}
    taken = [one.name for one in kept.values()]
    unique = unique_names(proposed, own, taken=taken)
    by_words = named(
        {c: words for c, words in own.items() if c not in unique}, taken=[*taken, *unique.values()]
    )
    model = settings().caption_model
    return {c: Name(name, "c_tf_idf", None) for c, name in by_words.items()} | {
        c: Name(name, "openai", model, answered[c].description) for c, name in unique.items()
    }


def _asked(
    sources: Sources, ledger: Ledger, clusters: list[dict[str, object]]
) -> list[ClusterName]:
    """Return a model's names of clusters; none where no model is asked for, or it fails."""
    if settings().cluster_name_method != "openai" or not clusters:
        return []
    found: list[ClusterName] = []
    budget = ledger.budget(settings().model_budget_usd)
    with sources.models(budget, ledger.record) as models:
        for start in range(0, len(clusters), CLUSTERS_A_CALL):
            shown = clusters[start : start + CLUSTERS_A_CALL]
            answer = models.structured(
                as_data(clusters=shown),
                CLUSTER_NAMES_SYSTEM,
                ClusterNames,
                model=settings().caption_model,
                purpose="cluster_names",
                max_tokens=TOKENS_A_NAME * len(shown),
            )
            if isinstance(answer.value, ClusterNames):
                found += answer.value.clusters
            else:
                logger.warning("%s clusters keep their own words: %s", len(shown), answer.error)
    return found
