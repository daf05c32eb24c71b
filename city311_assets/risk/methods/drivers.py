"""Drivers: what moved a forecast away from the city's average, and in which words that is said.

What belongs here: exact contributions of groups of features to a model's log odds, and sentences
with the row's own numbers. What does not: the models, and which of them serves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from city311_assets.gold.methods.arrays import Cells, Floats, Ints
from city311_assets.risk.methods.candidates import (
    ClimatologyModel,
    Fitted,
    LogisticModel,
    RateModel,
    TreeModel,
)
from city311_assets.risk.methods.feature_names import GROUPS

if TYPE_CHECKING:
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor

# The climatology reads no feature; what it knows is how often there were calls here.
OF_CLIMATOLOGY = "calls here over the years"
# As far as rounding goes: what moves log odds by no more did not move them.
NOTHING = 1e-9
MOST_LEAVES = 64
DRIVER = pl.Struct({"driver": pl.String, "effect": pl.Float64, "words": pl.String})

Matrix: TypeAlias = NDArray[np.float32]
Masks: TypeAlias = NDArray[np.unsignedinteger]


@dataclass(frozen=True, eq=False)
class Contributions:
    """What moved each row's log odds from the mean of all rows given.

    Attributes
    ----------
    groups
        (g,) groups of features.
    effects
        (n, g) of each group; a row's add up to its log odds less the mean of all.
    logit
        (n,) uncalibrated log odds.
    """

    groups: tuple[str, ...]
    effects: Floats
    logit: Floats


def contributions(
    fitted: Fitted, x: Matrix, cells: Cells | None = None, day: date | None = None
) -> Contributions:
    """Return what each group of features adds to the log odds, beside the mean row.

    Of a logistic regression a column adds its coefficient times its standardised value. In a tree a
    row gains or loses at each split on its path the difference between the mean of the training
    rows on its side and that of those before the split, which is credited to the column that splits
    (Saabas 2014; unlike Shapley values it is not averaged over the order of splits). A rate and a
    climatology are one column each. From each group's sum its mean over the rows given is taken:
    what is the same for all, such as the weather of a day, moves nobody from the average, save
    where a tree takes other paths for it.

    Parameters
    ----------
    fitted
        The model that serves.
    x
        (n, q) the city's cells of one day, in the columns of the model, NaN where unknown.
    cells, day
        Which they are; only a climatology reads them.

    Raises
    ------
    ValueError
        If a column of the model belongs to no group, a tree has more than 64 leaves, or `x` is not
        what the model reads.
    """
    groups, place = tuple(GROUPS), groups_of(fitted.features)
    match fitted.model:
        case LogisticModel() as model:
            own = model.standardised(x) * model.coefficients
            raw = own @ (place[:, None] == np.arange(len(groups)))
            logit = raw.sum(axis=1) + model.intercept
        case TreeModel() as model:
            forest = _forest(model, fitted.features)
            raw = forest.credits(x)
            logit = raw.sum(axis=1) + forest.baseline
        case RateModel() | ClimatologyModel() as model:
            logit = fitted.logit(x, cells, day)
            reads = place[model.column] if isinstance(model, RateModel) else None
            only = groups.index(OF_CLIMATOLOGY) if reads is None else reads
            raw = np.zeros((len(x), len(groups)))
            raw[:, only] = logit
    return Contributions(groups, raw - raw.mean(axis=0), logit)


def groups_of(features: Sequence[str]) -> Ints:
    """Return the place in `GROUPS` of each feature.

    Raises
    ------
    ValueError
        If one belongs to no group.
    """
    place = {name: i for i, names in enumerate(GROUPS.values()) for name in names}
    if strange := sorted(set(features) - set(place)):
        raise ValueError(f"features {strange} belong to no group; add them to feature_names.py")
    return np.array([place[name] for name in features], np.int64)


def top_drivers(groups: Sequence[str], values: Floats, frame: pl.DataFrame, most: int) -> pl.Series:
    """Return the groups that moved each row most, as a list of `driver, effect, words`.

    The largest comes first; among equals the earlier group. A group that moved nothing is no
    driver, so that a list may be shorter than `most`, and empty.

    Parameters
    ----------
    groups, values
        As of `Contributions`: (g,) and (n, g).
    frame
        (n) rows of `risk.cell_days`, in the same order.
    most
        Longest list.

    Raises
    ------
    ValueError
        If there are not as many rows as values.
    """
    n = len(values)
    if frame.height != n:
        raise ValueError(f"{frame.height} rows of features for {n} rows of effects")
    order = np.argsort(-np.abs(values), axis=1, kind="stable")[:, :most]
    effect = np.take_along_axis(values, order, axis=1)
    moved = np.abs(effect) > NOTHING
    row, group = np.broadcast_to(np.arange(n)[:, None], order.shape)[moved], order[moved]
    # Words are made of those rows only that a group is a driver of.
    by_group = np.argsort(group, kind="stable")
    facts = [
        frame.select(sorted({*FACTS[name].meta.root_names()}))[row[group == place]].select(
            FACTS[name].alias("fact")
        )
        for place, name in enumerate(groups)
    ]
    said = pl.concat(facts)["fact"].gather(np.argsort(by_group, kind="stable"))
    lists = (
        pl.DataFrame(
            {
                "row": row,
                "driver": pl.Series(groups, dtype=pl.String).gather(group),
                "effect": effect[moved],
                "fact": said,
            }
        )
        .select(
            "row",
            pl.struct(
                "driver",
                "effect",
                pl.format("{} the risk: {}", VERB, "fact").alias("words"),
            ).alias("drivers"),
        )
        .group_by("row", maintain_order=True)
        .agg("drivers")
    )
    rows = pl.DataFrame({"row": np.arange(n)})
    found = rows.join(lists, on="row", how="left", maintain_order="left")
    return found["drivers"].fill_null([]).cast(pl.List(DRIVER))


@dataclass(frozen=True, eq=False)
class Forest:
    """The trees of a model, so laid out that all are walked at once.

    A row's leaf in a tree is the leftmost that no split has ruled out (Lucchese et al. 2015,
    https://doi.org/10.1145/2766462.2767733), and what the splits on one column rule out depends on
    nothing but between which thresholds its value lies.

    Attributes
    ----------
    baseline
        Log odds of the mean row: what all trees begin from, and the mean of each.
    thresholds
        Of each column of the model: (k,) where any tree splits it, rising.
    masks
        Of each column: (k + 2, t) leaves that are left, a bit each, of a value above so many of its
        thresholds; the last row is of an unknown value.
    gains
        (t * leaves, g) what each group adds on the way to a leaf.
    """

    baseline: float
    thresholds: tuple[Floats, ...]
    masks: tuple[Masks, ...]
    gains: Floats

    def credits(self, x: Matrix) -> Floats:
        """Return what each group adds to the log odds of the mean row, (n, g)."""
        from scipy import sparse

        trees = self.masks[0].shape[1]
        left: Masks = np.full((1, trees), np.iinfo(self.masks[0].dtype).max, self.masks[0].dtype)
        # What all rows share is walked once.
        is_shared = (x == x[:1]).all(axis=0) | np.isnan(x).all(axis=0)
        for column in np.argsort(~is_shared, kind="stable"):
            known = self.thresholds[column]
            if known.size:
                value = x[:1, column] if is_shared[column] else x[:, column]
                above = np.searchsorted(known, value.astype(np.float64), side="left")
                left = left & self.masks[column][np.where(np.isnan(value), len(known) + 1, above)]
        left = np.broadcast_to(left, (len(x), trees))
        leaf = np.bitwise_count((left & -left) - 1).astype(np.int32)
        leaf += np.arange(trees, dtype=np.int32) * (len(self.gains) // trees)
        ends = np.arange(len(x) + 1) * trees
        reached = sparse.csr_array(
            (np.ones(leaf.size), leaf.ravel(), ends), (len(x), len(self.gains))
        )
        return reached @ self.gains


@lru_cache(maxsize=4)
def _forest(model: TreeModel, features: tuple[str, ...]) -> Forest:
    """Return a model's trees, laid out for `Forest.credits`.

    Raises
    ------
    ValueError
        If a tree has more than 64 leaves.
    """
    classifier, place = model.classifier, groups_of(features)
    # Told nowhere else; another version of scikit-learn does not read the file of a model.
    grown, begun = classifier._predictors, classifier._baseline_prediction  # noqa: SLF001 - told nowhere else
    trees = [_Tree.of(tree, place) for (tree,) in grown]
    most = max(len(tree.gains) for tree in trees)
    if most > MOST_LEAVES:
        raise ValueError(
            f"a tree of {most} leaves has no drivers; fit it with max_leaf_nodes ≤ {MOST_LEAVES}"
        )
    whole = (1 << most) - 1
    splits = [(number, *split) for number, tree in enumerate(trees) for split in tree.splits]
    thresholds, masks = [], []
    for column in range(len(features)):
        own = [split for split in splits if split[1] == column]
        known = np.unique(np.array([threshold for _, _, threshold, _, _ in own], np.float64))
        left = np.full((len(known) + 2, len(trees)), whole, np.min_scalar_type(whole))
        for number, _, threshold, unknown_goes_left, on_the_left in own:
            is_right = np.arange(len(known) + 2) > np.searchsorted(known, threshold)
            is_right[-1] = not unknown_goes_left
            left[is_right, number] &= left.dtype.type(whole ^ on_the_left)
        thresholds.append(known)
        masks.append(left)
    gains = np.zeros((len(trees), most, len(GROUPS)))
    for number, tree in enumerate(trees):
        gains[number, : len(tree.gains)] = tree.gains
    return Forest(
        float(np.ravel(begun)[0]) + sum(tree.mean for tree in trees),
        tuple(thresholds),
        tuple(masks),
        gains.reshape(-1, len(GROUPS)),
    )


@dataclass(frozen=True, eq=False)
class _Tree:
    """One tree: its splits, and what each group of features adds on the way to each leaf.

    A split is its column, threshold, whether unknown values go left, and the leaves on its left as
    bits. Leaves count from left to right.
    """

    mean: float
    splits: list[tuple[int, float, bool, int]]
    gains: Floats

    @classmethod
    def of(cls, tree: "TreePredictor", place: Ints) -> "_Tree":
        """Read a tree of scikit-learn.

        Of its nodes only leaves hold values that were shrunk by the learning rate; here a node's
        value is the mean of its leaves', by the training rows in each.
        """
        nodes = tree.nodes
        mean = nodes["value"].copy()
        weight = nodes["count"].astype(np.float64)
        # Children come after their parent.
        for node in range(len(nodes) - 1, -1, -1):
            if not nodes["is_leaf"][node]:
                sides = [int(nodes["left"][node]), int(nodes["right"][node])]
                mean[node] = np.average(mean[sides], weights=weight[sides])
        splits: list[tuple[int, float, bool, int]] = []
        gains: list[Floats] = []

        def walk(node: int, gained: Floats) -> int:
            """Note the leaves below a node, left to right, and return them as bits."""
            if nodes["is_leaf"][node]:
                gains.append(gained)
                return 1 << (len(gains) - 1)
            column = int(nodes["feature_idx"][node])
            below = []
            for side in ("left", "right"):
                child = int(nodes[side][node])
                credited = gained.copy()
                credited[place[column]] += mean[child] - mean[node]
                below.append(walk(child, credited))
            # Above an infinite threshold only unknown values go right.
            threshold = min(float(nodes["num_threshold"][node]), np.finfo(np.float64).max)
            splits.append((column, threshold, bool(nodes["missing_go_to_left"][node]), below[0]))
            return below[0] | below[1]

        walk(0, np.zeros(len(GROUPS)))
        return cls(float(mean[0]), splits, np.stack(gains))


def _counted(column: str, one: str, many: str) -> pl.Expr:
    """Say a count with the noun it takes: no calls, 1 call, 2 calls."""
    count = pl.col(column)
    return (
        pl.when(count == 0)
        .then(pl.lit(f"no {many}"))
        .when(count == 1)
        .then(pl.lit(f"1 {one}"))
        .otherwise(pl.format(f"{{}} {many}", count))
    )


def _rounded(value: pl.Expr, digits: int = 0) -> pl.Expr:
    """Say a number with so many decimals."""
    # Adding 0 turns a rounded -0 into 0.
    number = value.round(digits) + 0.0
    return (number.cast(pl.Int64) if digits == 0 else number).cast(pl.String)


VERB = pl.when(pl.col("effect") > 0).then(pl.lit("raises")).otherwise(pl.lit("lowers"))
NEWEST = (
    pl.when(pl.col("days_since_last") == 0)
    .then(pl.lit("today"))
    .otherwise(pl.format("{} ago", _counted("days_since_last", "day", "days")))
)
NOT_HELD = pl.lit("not all days before are known")
NO_WEATHER = pl.lit("the weather of the days before was not known")
# What is said of a group, in the row's own numbers; the first wording of which all is known.
FACTS: dict[str, pl.Expr] = {
    "recent calls here": pl.coalesce(
        pl.format(
            "{} here in 30 days{}",
            _counted("calls_30d", "call", "calls"),
            pl.coalesce(pl.format(", the newest {}", NEWEST), pl.lit("")),
        ),
        pl.format("the newest call here {}", NEWEST),
        NOT_HELD,
    ),
    "calls here over the years": pl.format(
        "about {} calls here a year", _rounded(pl.col("long_run_rate") * 365, 1)
    ),
    "calls next door": pl.coalesce(
        pl.format("{} next door in 30 days", _counted("ring1_calls_30d", "call", "calls")),
        NOT_HELD,
    ),
    "how much people call here": pl.coalesce(
        *(
            pl.format(
                "{} of every kind here in {} days",
                _counted(f"all_calls_{days}d", "request", "requests"),
                pl.lit(days),
            )
            for days in (365, 30)
        ),
        NOT_HELD,
    ),
    "season": pl.format(
        "the time of year, {}, and the weekday, {}",
        pl.col("day").dt.offset_by("4d").dt.strftime("%B"),
        pl.col("day").dt.strftime("%A"),
    ),
    "cold and thaw": pl.coalesce(
        pl.when(pl.col("freeze_thaw_days_7d") > 0).then(
            pl.format("frost and thaw on {} of 7 days", "freeze_thaw_days_7d")
        ),
        pl.when(pl.col("freezing_degree_days_14d") > 0).then(
            pl.format(
                "{} degree days of frost in 14 days", _rounded(pl.col("freezing_degree_days_14d"))
            )
        ),
        pl.format("{} °C at the lowest", _rounded(pl.col("temperature_min_c"))),
        NO_WEATHER,
    ),
    "rain": pl.coalesce(
        *(
            pl.format(
                "{} mm of rain in {} days", _rounded(pl.col(f"rain_{days}d_mm")), pl.lit(days)
            )
            for days in (7, 3)
        ),
        NO_WEATHER,
    ),
}
