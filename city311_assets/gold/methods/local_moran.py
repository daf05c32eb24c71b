"""Local Moran's I: whether a cell and its neighbours are alike, and on which side of the mean."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse, special

from city311_assets.gold.methods.arrays import Floats

QUADRANTS = np.array(["LL", "LH", "HL", "HH", None], dtype=object)


@dataclass(frozen=True)
class LocalMoran:
    """Local Moran's I of n cells, k values each.

    Attributes
    ----------
    i
        Shape (n,) or (n, k); positive where a cell is like its neighbours.
    p
        Two-sided, normal, by the moments under conditional randomization: all other cells' values
        are dealt out anew. Where records are few it is only a rough guide.
    quadrant
        The cell's side of the mean, then its neighbours': `HH`, `HL`, `LH`, `LL`.

    All are NaN (`quadrant`: None) for a cell without neighbours and where all cells are alike; `p`
    also where no other deal could give another I.
    """

    i: Floats
    p: Floats
    quadrant: NDArray[np.object_]


def local_moran(values: ArrayLike, disk: sparse.csr_array) -> LocalMoran:
    """Return local Moran's I, neighbours without the cell itself, weights that add up to 1.

    Parameters
    ----------
    values
        Shape (n,) or (n, k), zeros included.
    disk
        Shape (n, n): 1 where a cell belongs to the ring of a row, itself included.

    Notes
    -----
    Anselin 1995 (https://doi.org/10.1111/j.1538-4632.1995.tb00338.x); the moments are A7 and A8 of
    Sokal, Oden and Thomson 1998 (https://doi.org/10.1111/j.1538-4632.1998.tb00406.x).
    """
    x = np.asarray(values, np.float64)
    cells = x.shape[0]
    if (cells, cells) != disk.shape:
        raise ValueError(f"{cells} values for a grid of rings {disk.shape}")
    if not np.isfinite(x).all():
        raise ValueError("a value is missing or infinite; cells without records count 0")
    neighbours = np.asarray(disk.sum(axis=1), np.float64).ravel() - 1
    neighbours = neighbours[:, None] if x.ndim > 1 else neighbours
    spread = np.where(np.ptp(x, axis=0) > 0, x.std(axis=0), np.nan)
    weight = np.divide(1.0, neighbours, out=np.full(neighbours.shape, np.nan), where=neighbours > 0)
    z = (x - x.mean(axis=0)) / spread
    lag = (disk @ z - z) * weight
    i = z * lag * ((cells - 1) / cells)
    others = max(cells - 1, 1)
    expected = -(z**2) / others
    variance = (
        z**2
        * (cells / max(cells - 2, 1))
        * np.maximum(weight - 1 / others, 0.0)
        * np.maximum(1 - z**2 / others, 0.0)
    )
    moves = variance > 0
    score = np.divide(i - expected, np.sqrt(variance), out=np.full(x.shape, np.nan), where=moves)
    quadrant = QUADRANTS[np.where(np.isnan(i), -1, 2 * (z > 0) + (lag > 0))]
    return LocalMoran(i, 2 * special.ndtr(-np.abs(score)), quadrant)
