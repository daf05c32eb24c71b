"""Bronze boundaries: the areas a city's portal publishes, as GeoJSON."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime

import dagster as dg
import polars as pl
import shapely

from city311_assets.bronze.sources import Sources, replace_of_origin
from city311_assets.clients.errors import MalformedAnswerError, MissingColumnsError
from city311_assets.feeds.feed import BoundarySet, City
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.bronze import BOUNDARIES

HELD = f"from {BOUNDARIES} where {BOUNDARIES.where}"
SHAPES = ("Polygon", "MultiPolygon")


def area_rows(features: Iterable[dict], areas: BoundarySet) -> pl.DataFrame:
    """Return features as `areas, area, code, part, geometry, dataset`.

    Raises
    ------
    MissingColumnsError
        A feature lacks the property that names its area.
    MalformedAnswerError
        A feature's outline is none.
    """
    rows: list[dict[str, object]] = []
    parts: dict[str, int] = {}
    for feature in features:
        properties, geometry = feature.get("properties") or {}, feature.get("geometry") or {}
        if areas.name_property not in properties:
            raise MissingColumnsError(
                f"an area has no property {areas.name_property}; it has {sorted(properties)}",
                url=areas.dataset,
            )
        if geometry.get("type") not in SHAPES:
            continue
        area = str(properties[areas.name_property]).strip()
        outline = json.dumps(geometry, separators=(",", ":"))
        try:
            shapely.from_geojson(outline)
        except shapely.errors.ShapelyError as error:
            raise MalformedAnswerError(
                f"the outline of {area} cannot be read", url=areas.dataset, said=str(error)
            ) from error
        code = properties.get(areas.code_property) if areas.code_property else None
        rows.append(
            {
                "areas": areas.areas,
                "area": area,
                "code": None if code is None else str(code).strip(),
                "part": parts.get(area, 0),
                "geometry": outline,
                "dataset": areas.dataset,
            }
        )
        parts[area] = parts.get(area, 0) + 1
    text = dict.fromkeys(("areas", "area", "code", "geometry", "dataset"), pl.String)
    return pl.DataFrame(rows, schema=text | {"part": pl.Int32})


def misplaced(rows: pl.DataFrame, city: City) -> list[str]:
    """Return the areas whose geometry is invalid or leaves the city's box."""
    box = shapely.box(city.box.west, city.box.south, city.box.east, city.box.north)
    shapes = shapely.from_geojson(rows["geometry"].to_list())
    is_good = shapely.is_valid(shapes) & shapely.covers(box, shapes)
    named = rows.select(pl.concat_str("areas", "area", separator=" ")).to_series()
    return sorted(named.filter(pl.Series(~is_good)).to_list())


def boundaries(city: City) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one city's areas, and what must hold of them."""
    key = BOUNDARIES.key(city.name)

    @dg.asset(
        key=key,
        metadata=BOUNDARIES.metadata,
        kinds={"duckdb", "socrata"},
        description=f"Areas of {city.title} as {city.portal} publishes them: "
        f"{', '.join(areas.areas for areas in city.boundaries)}.",
    )
    def boundaries(warehouse: Warehouse, sources: Sources) -> dg.MaterializeResult:
        """Published areas of one city."""
        with sources.boundaries_of(city) as portal:
            found = [area_rows(portal.features(areas.dataset), areas) for areas in city.boundaries]
        rows = (
            pl.concat(found)
            .with_columns(
                pl.lit(city.name).alias("city"),
                pl.lit(sources.origin).alias("fetched_from"),
                pl.lit(datetime.now(UTC).replace(tzinfo=None))
                .cast(pl.Datetime("us"))
                .alias("fetched_at"),
            )
            .select(BOUNDARIES.names)
        )
        replace_of_origin(warehouse, BOUNDARIES, rows, city.name, sources.origin)
        counts = dict(rows["areas"].value_counts().iter_rows())
        return dg.MaterializeResult(metadata={"dagster/row_count": rows.height, **counts})

    @dg.asset_check(asset=key)
    def areas_valid_and_inside(warehouse: Warehouse) -> dg.AssetCheckResult:
        """Every area is a valid shape inside the city's box, and every set has some."""
        rows = warehouse.read(HELD, {"city": city.name}, [BOUNDARIES])
        offenders = misplaced(rows, city)
        empty = [a.areas for a in city.boundaries if a.areas not in rows["areas"].to_list()]
        return dg.AssetCheckResult(
            passed=not offenders and not empty,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"areas": offenders[:20], "sets_without_areas": empty},
        )

    return [boundaries, areas_valid_and_inside]
