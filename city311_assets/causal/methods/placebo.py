"""Made-up neighbourhoods: no effect by construction, the confounding of a real neighbourhood.

What belongs here: drawing them. What does not: estimating their effects, which are those of the
estimators the real neighbourhoods get, or counting how many come out significant.
"""

from dataclasses import dataclass

import numpy as np

from city311_assets.causal.methods.matching import Matches
from city311_assets.gold.methods.arrays import Ints

MOST_CULPRITS = 5


@dataclass(frozen=True, slots=True)
class MadeUpGroup:
    """Units of other groups that are called one, because they resemble the units of a real one.

    Attributes
    ----------
    like
        The real group. Its own units must be left out of the made-up one's controls: they have the
        effect that the made-up group is to be without.
    members
        Rows of the units, ascending.
    """

    like: int
    members: Ints


def made_up_groups(
    matches: Matches, groups: Ints, size: int, count: int, seed: int
) -> list[MadeUpGroup]:
    """Return made-up groups, each with the mix of units of a real group and with none of its own.

    For units of the real group in random order, one of the matches of each is drawn that is not in
    the made-up group yet, until there are enough. What sets a real group's units apart sets these
    apart too, but among units that are as similar it is chance who is drawn: compared with others
    outside the real group the effect is none.

    Parameters
    ----------
    matches
        Pairs of all units, with units of other groups.
    groups
        Shape (n,), the real group of each unit.
    size
        Members of each made-up group.
    count
        How many to make up. Real groups that can give one take turns, in random order.
    seed
        Of all draws; where rows are in another order, others are drawn.

    Raises
    ------
    ValueError
        If no group is large and varied enough in matches, or a match is of the unit's own group.
    """
    group = np.asarray(groups, np.int64)
    if size < 1 or count < 0:
        raise ValueError(f"{count} groups of {size} were asked for; ask for 1 or more members")
    own = group[matches.treated] == group[matches.control]
    if own.any():
        rows = matches.treated[own][:MOST_CULPRITS].tolist()
        raise ValueError(
            f"{int(own.sum())} pairs are of one group, first of rows {rows}; match with others only"
        )
    rng = np.random.default_rng(seed)
    starts = np.searchsorted(matches.treated, matches.matched)
    candidates = np.split(matches.control, starts[1:])
    of = group[matches.matched]
    able = [int(label) for label in rng.permutation(np.unique(of))]
    made: list[MadeUpGroup] = []
    while len(made) < count and able:
        like = able.pop(0)
        members = _drawn(candidates, np.flatnonzero(of == like), size, rng)
        # A group of fewer units, or whose matches are mostly the same ones, is not asked again.
        if len(members) == size:
            made.append(MadeUpGroup(like, np.sort(members)))
            able.append(like)
    if len(made) < count:
        largest = int(np.unique(of, return_counts=True)[1].max()) if len(of) else 0
        raise ValueError(
            f"no group gives {size} different matches, the largest has {largest} matched units; "
            "ask for smaller made-up groups"
        )
    return made


def _drawn(candidates: list[Ints], units: Ints, size: int, rng: np.random.Generator) -> Ints:
    """Return up to `size` different units, each one of the candidates of another unit."""
    taken: set[int] = set()
    for at in rng.permutation(units):
        free = [row for row in candidates[at].tolist() if row not in taken]
        if free:
            taken.add(free[rng.integers(len(free))])
        if len(taken) == size:
            break
    return np.array(sorted(taken), np.int64)
