"""Which published area a point lies in."""

from dataclasses import dataclass, field

import numpy as np
import polars as pl
import shapely


@dataclass(frozen=True)
class Areas:
    """Areas by name, with their shapes (longitude before latitude)."""

    names: list[str]
    tree: shapely.STRtree = field(repr=False)

    @classmethod
    def of(cls, boundaries: pl.DataFrame) -> "Areas":
        """Read areas from rows with `area, geometry` (GeoJSON); no rows are no areas."""
        shapes = shapely.from_geojson(boundaries["geometry"].to_list())
        shapely.prepare(shapes)
        return cls(boundaries["area"].to_list(), shapely.STRtree(shapes))

    def located(self, latitude: pl.Series, longitude: pl.Series) -> pl.Series:
        """Return the area each point (degrees) lies in; null without a point or an area.

        A point on the border of two areas belongs to the first by name.
        """
        is_known = (latitude.is_not_null() & longitude.is_not_null()).to_numpy()
        found = np.full(len(latitude), len(self.names))
        if self.names and is_known.any():
            points = np.asarray(
                shapely.points(longitude.to_numpy()[is_known], latitude.to_numpy()[is_known])
            )
            point, area = self.tree.query(points, predicate="intersects")
            by_name = np.argsort(np.argsort(np.array(self.names), kind="stable"), kind="stable")
            first = np.full(len(points), len(self.names))
            np.minimum.at(first, point, by_name[area])
            found[is_known] = first
        ordered: list[str | None] = [*sorted(self.names), None]
        return pl.Series("area", ordered, pl.String).gather(found)
