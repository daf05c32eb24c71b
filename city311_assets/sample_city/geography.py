"""Where the sample city's records lie: outlines, areas that tile them, streets, points.

The outlines and area centres in `places/` are approximate. Every tiling is the Voronoi diagram of
its centres clipped to the city's outline, so that the area of a point is the area of the nearest
centre, in a plane where a degree of longitude is shortened to its length at the city's latitude.
"""

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.affinity import scale
from shapely.geometry.base import BaseGeometry

from city311_assets.feeds.feed import BoundarySet
from city311_assets.feeds.registry import CITIES
from city311_assets.sample_city.kinds import AFFINITY, CHARACTERS
from city311_assets.sample_city.tables import NotSimulatedError, lines, rows

METERS_PER_DEGREE = 111_195.0

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@cache
def outline(city: str) -> shapely.Polygon | shapely.MultiPolygon:
    """Return a city's simplified outline, counter-clockwise, in degrees; islands are parts."""
    rings: dict[str, list[tuple[float, float]]] = {}
    for row in rows(f"places/{city}_outline.csv"):
        corner = float(row["longitude"]), float(row["latitude"])
        rings.setdefault(row.get("part") or city, []).append(corner)
    parts = [shapely.geometry.polygon.orient(shapely.Polygon(ring)) for ring in rings.values()]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


@cache
def streets(city: str) -> tuple[str, ...]:
    """Return the names of a city's streets."""
    return tuple(lines(f"places/{city}_streets.txt"))


def shortening(city: str) -> float:
    """Return the length of a degree of longitude over one of latitude, in a city."""
    return float(np.cos(np.radians(CITIES[city].latitude)))


@dataclass(frozen=True)
class Tiling:
    """The areas of one sort that tile a city, in a fixed order."""

    city: str
    areas: str
    codes: tuple[str, ...]
    names: tuple[str, ...]
    centres: Floats
    weights: Floats
    characters: Ints

    @cached_property
    def shapes(self) -> list[shapely.MultiPolygon]:
        """The areas' shapes in degrees, rings counter-clockwise."""
        shrink = shortening(self.city)
        plane = scale(outline(self.city), xfact=shrink, origin=(0, 0))
        sites = self.centres * (shrink, 1.0)
        cells = shapely.voronoi_polygons(shapely.MultiPoint(sites), extend_to=plane, ordered=True)
        return [
            shapely.MultiPolygon(
                [
                    shapely.geometry.polygon.orient(part)
                    for part in _polygons(
                        scale(cell.intersection(plane), xfact=1 / shrink, origin=(0, 0))
                    )
                ]
            )
            for cell in cells.geoms
        ]

    @cached_property
    def square_km(self) -> Floats:
        """The areas' sizes."""
        degree = (METERS_PER_DEGREE / 1000) ** 2 * shortening(self.city)
        return np.array([shape.area * degree for shape in self.shapes])

    def nearest(self, longitude: Floats, latitude: Floats) -> Ints:
        """Return the index of the area whose centre is nearest to each point."""
        shrink = shortening(self.city)
        across = (longitude[:, None] - self.centres[None, :, 0]) * shrink
        along = latitude[:, None] - self.centres[None, :, 1]
        return np.argmin(across * across + along * along, axis=1).astype(np.int64)

    def areas_of(self, longitude: Floats, latitude: Floats) -> Ints:
        """Return the index of the area each point lies in, -1 outside the city."""
        inside = shapely.contains_xy(outline(self.city), longitude, latitude)
        return np.where(inside, self.nearest(longitude, latitude), -1)

    def shares(self, profile: str) -> Floats:
        """Return the part of a profile's records that comes from each area."""
        weights = self.weights * np.array(AFFINITY[profile])[self.characters]
        return weights / weights.sum()

    @cached_property
    def _triangles(self) -> tuple[Floats, Floats]:
        """Corners of all areas' triangles, and the running share of each, area index added."""
        corners, running = [], []
        for index, shape in enumerate(self.shapes):
            parts = shapely.constrained_delaunay_triangles(shape).geoms
            sizes = np.array([part.area for part in parts])
            running.append(index + np.cumsum(sizes) / sizes.sum())
            corners += [shapely.get_coordinates(part)[:3] for part in parts]
        return np.array(corners), np.concatenate(running)

    def points(self, areas: Ints, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Return longitude and latitude of one uniform point in each of the areas named."""
        corners, running = self._triangles
        pick = rng.random((3, areas.size))
        chosen = np.searchsorted(running, areas + pick[0] * (1 - 1e-9))
        low, high = np.minimum(pick[1], pick[2]), np.maximum(pick[1], pick[2])
        mix = np.stack([low, high - low, 1 - high], axis=1)
        placed = np.einsum("nk,nkd->nd", mix, corners[chosen])
        return placed[:, 0], placed[:, 1]


def _polygons(shape: BaseGeometry) -> list[shapely.Polygon]:
    parts = shapely.get_parts(shape)
    return [part for part in parts if isinstance(part, shapely.Polygon) and part.area > 0]


@cache
def tiling(city: str, areas: str) -> Tiling:
    """Return one tiling of a city: `neighborhood`, `district`, `ward` or `police`.

    Raises
    ------
    NotSimulatedError
        The city has no such areas.
    """
    centres = [row for row in rows(f"places/{city}_areas.csv") if row["areas"] == areas]
    if not centres:
        raise NotSimulatedError(
            f"the sample city has no {areas} areas of {city}; add their centres to "
            f"places/{city}_areas.csv"
        )
    return Tiling(
        city=city,
        areas=areas,
        codes=tuple(row["code"] for row in centres),
        names=tuple(row["name"] for row in centres),
        centres=np.array([(float(row["longitude"]), float(row["latitude"])) for row in centres]),
        weights=np.array([float(row["weight"]) for row in centres]),
        characters=np.array([CHARACTERS.index(row["character"]) for row in centres]),
    )


def feature_collection(city: str, boundary: BoundarySet) -> dict[str, object]:
    """Return a boundary dataset as the portal's GeoJSON, property values as texts."""
    areas = tiling(city, boundary.areas)
    features = []
    for code, name, shape in zip(areas.codes, areas.names, areas.shapes, strict=True):
        properties = {boundary.code_property: code} if boundary.code_property else {}
        properties[boundary.name_property] = name
        geometry = shapely.geometry.mapping(shape)
        features.append({"type": "Feature", "properties": properties, "geometry": geometry})
    return {
        "type": "FeatureCollection",
        "features": features,
        "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}},
    }


def boundaries(portal: str, dataset: str) -> dict[str, object] | None:
    """Return the boundary dataset of a portal as GeoJSON, None if there is no such."""
    for city in CITIES.values():
        for boundary in city.boundaries:
            if (city.portal, boundary.dataset) == (portal, dataset):
                return feature_collection(city.name, boundary)
    return None
