"""What the effects of a large city's month cost, beside one search for each neighbourhood."""

from functools import partial
from pathlib import Path

import numpy as np
from sklearn.neighbors import NearestNeighbors

from benchmarks.measuring import Effort, interleaved, metered
from benchmarks.report import FLAT_WITHIN, Row, flatness, verdict
from city311_assets.causal.methods.disparities import SameSide, Units, corrected_effects
from city311_assets.causal.methods.matching import match_in_strata, similarity_floors

CASES, DIMENSIONS, NEIGHBORHOODS, DRAWS = 100_000, 384, 40, 10_000
STRATA, TOPICS, COLUMNS, K = 60, 40, 15, 3
GROWTH = (6_250, 25_000, 100_000)
SEED = 311
# Of the neighbourhoods so many are searched one by one; the others are reckoned from them.
SEARCHED = 4
MOST_MEGABYTES = 2_000
# Heavy work is done fewer times than the rest: minutes, not seconds.
REPEATS = 2


def city(cases: int, strata: int = STRATA) -> Units:
    """Return cases in neighbourhoods and strata of which some are much larger than others."""
    rng = np.random.default_rng(SEED)
    centres = rng.normal(size=(TOPICS, DIMENSIONS)).astype(np.float32)
    vectors = rng.standard_normal((cases, DIMENSIONS), np.float32)
    vectors += centres[rng.integers(TOPICS, size=cases)]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def shared(count: int) -> np.ndarray:
        share = rng.lognormal(0, 0.8, count)
        return rng.choice(count, cases, p=share / share.sum())

    return Units(
        outcome=np.minimum(rng.lognormal(4, 1, cases), 720.0),
        groups=shared(NEIGHBORHOODS),
        vectors=vectors,
        strata=shared(strata),
        nearness=rng.uniform(0, 540, cases),
        adjustment=rng.normal(size=(cases, COLUMNS)),
    )


def of_ours(cases: str, strata: str) -> None:
    units = city(int(cases), int(strata))
    with metered("match"):
        pairs = match_in_strata(
            units.vectors, units.strata, units.groups, K, nearness=units.nearness
        ).above(similarity_floors(units.vectors, units.strata, 0.5, SEED))
    with metered("variance"):
        same_side = SameSide(units)
    with metered("effects and flips"):
        corrected_effects(units, pairs, K, same_side=same_side, draws=DRAWS, seed=SEED)


def of_searches(cases: str, strata: str) -> None:
    """Search the controls of some neighbourhoods, each among all cases elsewhere in its strata."""
    units = city(int(cases), int(strata))
    with metered("match"):
        for group in range(SEARCHED):
            for stratum in np.unique(units.strata[units.groups == group]):
                there = units.strata == stratum
                own = there & (units.groups == group)
                others = there & (units.groups != group)
                if others.sum() >= K:
                    search = NearestNeighbors(n_neighbors=K, algorithm="brute", metric="cosine")
                    search.fit(units.vectors[others]).kneighbors(units.vectors[own])


def measure(effort: Effort, _: Path) -> list[Row]:
    size = (str(CASES // effort.divisor), str(STRATA))
    ours, searches = interleaved(
        min(effort.repeats, REPEATS),
        ours=partial(of_ours, *size),
        searches=partial(of_searches, *size),
    )
    parts = {name: ours.cpu(name) for name in ("match", "variance", "effects and flips")}
    total, theirs = ours.cpu(), searches.cpu() * NEIGHBORHOODS / SEARCHED
    found = [
        Row(
            f"effects of {NEIGHBORHOODS} neighbourhoods, {DRAWS:,} sign flips",
            f"{int(size[0]):,} x {DIMENSIONS}, {STRATA} strata",
            f"{total:.0f} CPU-s ({', '.join(f'{name} {s:.0f}' for name, s in parts.items())}), "
            f"{ours.peak:,.0f} MB",
            f"matching alone, a search for each neighbourhood: {theirs:.0f} CPU-s (from "
            f"{SEARCHED} of them), {searches.peak:,.0f} MB",
            theirs / total,
            f"≤ 10 CPU-s, < {MOST_MEGABYTES:,} MB",
            verdict(total <= 10 and ours.peak < MOST_MEGABYTES),
        )
    ]
    sizes = [cases // effort.divisor for cases in GROWTH]
    # Strata grow in number with the city, not in size: half-years, categories and channels do.
    ways = {
        f"{cases}_cases": partial(of_ours, str(cases), str(max(STRATA * cases // sizes[-1], 1)))
        for cases in sizes
    }
    smallest = 0.0
    for cases, own in zip(sizes, interleaved(1, **ways), strict=True):
        micros = 1e6 * own.cpu() / cases
        smallest = smallest or micros
        found.append(
            Row(
                "effects, growth with as many strata, once",
                f"{cases:,} x {DIMENSIONS}",
                f"{micros:,.0f} CPU-µs a case; {own.peak:,.0f} MB",
                target=f"flat within {FLAT_WITHIN:.0%}",
                met=flatness(micros, smallest),
            )
        )
    return found
