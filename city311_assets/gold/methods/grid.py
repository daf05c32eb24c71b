"""The H3 grid as arrays: which cells cover an area, their parents, and sums over neighbours.

What belongs here: geometry and adjacency of cells. What does not: what is counted in them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain, repeat

import h3.api.basic_int as h3
import numpy as np
import polars as pl
import shapely
from numpy.typing import ArrayLike
from scipy import sparse

from city311_assets.gold.methods.arrays import Cells, Floats, Ints
from city311_assets.silver.cells import (
    BITS_PER_DIGIT,
    FINEST_RESOLUTION,
    RESOLUTION,
    RESOLUTION_MASK,
    RESOLUTION_SHIFT,
)

COARSEST_SHOWN = 6
# A tenth of a metre, and half the text of all digits.
COORDINATE_DIGITS = 6
AREA_TYPES = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)


def covering(areas: list[str]) -> Cells:
    """Return every cell of resolution 10 that overlaps an area, sorted.

    Parameters
    ----------
    areas
        GeoJSON polygons and multipolygons, longitude before latitude; none may cross the
        antimeridian.

    Raises
    ------
    ValueError
        If an area has no surface, or coordinates that are not degrees.
    """
    shapes = shapely.from_geojson(areas)
    if len(strange := shapes[~np.isin(shapely.get_type_id(shapes), AREA_TYPES)]):
        kinds = sorted({shape.geom_type for shape in strange})
        raise ValueError(f"{kinds} are not areas: give polygons and multipolygons")
    parts = shapely.get_parts(shapes)
    bounds = shapely.bounds(parts)
    if (np.abs(bounds) > (180, 90, 180, 90)).any():
        raise ValueError(f"coordinates {bounds.tolist()[:1]} are not degrees, longitude first")
    # The library tests each cell against each side: 6 s for an outline of 20,000 sides, where a box
    # has four and an index finds the rest in half a second.
    boxes = (
        h3.LatLngPoly([(south, west), (south, east), (north, east), (north, west)])
        for west, south, east, north in bounds.tolist()
    )
    nearby = sorted(
        {
            cell
            for box in boxes
            for cell in h3.h3shape_to_cells_experimental(box, RESOLUTION, contain="bbox_overlap")
        }
    )
    cells = np.array(nearby, np.uint64)
    shapely.prepare(parts)
    _, touched = shapely.STRtree(_hexagons(cells)).query(parts, predicate="intersects")
    return cells[np.unique(touched)]


def around(cells: Cells, steps: int = 1) -> Cells:
    """Return the cells and all within `steps` of them, sorted."""
    return np.unique(_disks(cells, steps)[0])


def parents(cells: Cells, resolution: int) -> Cells:
    """Return each cell's ancestor at a resolution not finer than its own.

    Raises
    ------
    ValueError
        If the resolution is none of H3's, or finer than a cell's own.
    """
    if not 0 <= resolution <= FINEST_RESOLUTION:
        raise ValueError(f"resolution {resolution} is not between 0 and {FINEST_RESOLUTION}")
    if len(coarser := (own := _resolutions(cells))[own < resolution]):
        raise ValueError(f"cells of resolution {coarser.min()} have no parent at {resolution}")
    unused = (1 << BITS_PER_DIGIT * (FINEST_RESOLUTION - resolution)) - 1
    kept = cells & np.uint64(~RESOLUTION_MASK & (1 << 64) - 1)
    return kept | np.uint64(resolution << RESOLUTION_SHIFT | unused)


def with_parents(
    cells: Cells, resolutions: Iterable[int] = range(COARSEST_SHOWN, RESOLUTION + 1)
) -> dict[int, Cells]:
    """Return the study area at each resolution, sorted, from its cells of resolution 10."""
    return {resolution: np.unique(parents(cells, resolution)) for resolution in resolutions}


@dataclass(frozen=True, eq=False)
class Grid:
    """Cells of one resolution, and which of them are within some steps of each other.

    Attributes
    ----------
    cells
        Sorted, each once; n of them.
    disk
        n x n: 1 where the column's cell is near the row's, which is near itself; else 0.
    """

    cells: Cells
    disk: sparse.csr_array = field(repr=False)

    @classmethod
    def of(cls, cells: Cells, steps: int = 1) -> "Grid":
        """Return the grid of these cells, in whatever order and however often they are given.

        Raises
        ------
        ValueError
            If the cells are of several resolutions.
        """
        cells = np.unique(cells)
        if len(own := np.unique(_resolutions(cells))) > 1:
            raise ValueError(f"cells of resolutions {own.tolist()} make no grid: give one of them")
        near, sizes = _disks(cells, steps)
        column = _index_in(cells, near)
        row = np.repeat(np.arange(len(cells)), sizes)[column >= 0]
        column = column[column >= 0]
        starts = np.searchsorted(row, np.arange(len(cells) + 1))
        shape = (len(cells), len(cells))
        disk = sparse.csr_array((np.ones(len(column)), column, starts), shape=shape)
        # A sum is not to hang on the order in which the library lists a disk.
        disk.sort_indices()
        return cls(cells, disk)

    def index_of(self, cells: Cells) -> Ints:
        """Return the place of each cell in the grid; -1 where it is not in it."""
        return _index_in(self.cells, cells)

    def sums(self, values: ArrayLike) -> Floats:
        """Return the sum over each cell's disk, itself included; cells not in the grid add nothing.

        Parameters
        ----------
        values
            In the order of `cells`: n of them, or n x k.
        """
        given = np.asarray(values, np.float64)
        if given.ndim not in {1, 2} or len(given) != len(self.cells):
            raise ValueError(f"values of shape {given.shape} for {len(self.cells)} cells")
        return self.disk @ given


def shapes(cells: Cells) -> pl.DataFrame:
    """Return centre, outline and neighbours of cells of one resolution, sorted by cell.

    Columns `cell, latitude, longitude` (degrees), `boundary` (GeoJSON polygon, closed and
    counter-clockwise, longitude before latitude) and `neighbors` (those among `cells`, sorted).
    """
    grid = Grid.of(cells)
    latitudes_longitudes = map(h3.cell_to_latlng, grid.cells.tolist())
    centres = np.fromiter(chain.from_iterable(latitudes_longitudes), np.float64).reshape(-1, 2)
    row, column = grid.disk.nonzero()
    near = pl.DataFrame({"cell": grid.cells[row], "near": grid.cells[column]})
    is_other = pl.col("near") != pl.col("cell")
    corners, sides = _outlines(grid.cells)
    longitude, latitude = corners.round(COORDINATE_DIGITS).T
    ring = pl.DataFrame(
        {"cell": np.repeat(grid.cells, sides), "longitude": longitude, "latitude": latitude}
    ).select("cell", corner=pl.format("[{},{}]", "longitude", "latitude"))
    corner = pl.col("corner")
    closed = pl.concat_str(
        pl.lit('{"type":"Polygon","coordinates":[['),
        corner.str.join(","),
        pl.lit(","),
        corner.first(),
        pl.lit("]]}"),
    )
    return (
        pl.DataFrame({"cell": grid.cells, "latitude": centres[:, 0], "longitude": centres[:, 1]})
        .join(ring.group_by("cell", maintain_order=True).agg(boundary=closed), on="cell")
        .join(near.group_by("cell").agg(neighbors=pl.col("near").filter(is_other)), on="cell")
        .sort("cell")
    )


def _resolutions(cells: Cells) -> Ints:
    """Return each cell's own resolution."""
    return ((cells & np.uint64(RESOLUTION_MASK)) >> np.uint64(RESOLUTION_SHIFT)).astype(np.int64)


def _disks(cells: Cells, steps: int) -> tuple[Cells, Ints]:
    """Return the disks of all cells one after the other, and the size of each."""
    disks = list(map(h3.grid_disk, cells.tolist(), repeat(steps)))
    near = np.fromiter(chain.from_iterable(disks), np.uint64)
    return near, np.fromiter(map(len, disks), np.int64)


def _index_in(among: Cells, cells: Cells) -> Ints:
    """Return the place of each cell among sorted ones; -1 where it is not among them."""
    place = np.searchsorted(among, cells)
    is_found = np.append(among, np.uint64(0))[place] == cells
    return np.where(is_found & (place < len(among)), place, -1)


def _outlines(cells: Cells) -> tuple[Floats, Ints]:
    """Return the corners (longitude, latitude) of all cells, and how many each has."""
    outlines = list(map(h3.cell_to_boundary, cells.tolist()))
    corners = np.fromiter(chain.from_iterable(chain.from_iterable(outlines)), np.float64)
    return corners.reshape(-1, 2)[:, ::-1], np.fromiter(map(len, outlines), np.int64)


def _hexagons(cells: Cells) -> list[shapely.Polygon]:
    """Return the outlines of cells as polygons."""
    corners, sides = _outlines(cells)
    rings = shapely.linearrings(corners, indices=np.repeat(np.arange(len(cells)), sides))
    return np.asarray(shapely.polygons(rings)).tolist()
