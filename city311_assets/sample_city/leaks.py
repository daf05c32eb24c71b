"""Where Chicago's water leaks, and how weather moves it: the planted intensity of every cell."""

from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import h3
import numpy as np
import shapely
from numpy.typing import NDArray

from city311_assets.sample_city.geography import METERS_PER_DEGREE, outline, shortening
from city311_assets.sample_city.weather import freeze_thaw_share, heavy_rain

CITY = "chicago"
RESOLUTION = 9
# Points are drawn in a disc that lies inside the hexagon around its centre.
DISC_M = 140.0
# The shape of the gamma distribution of intensities: the smaller, the fewer cells hold the leaks.
INTENSITY_SHAPE = 0.45
# City-wide means of the two sensitivities, in log rate for a full stress.
MEAN_FREEZE_SENSITIVITY = 0.9
MEAN_RAIN_SENSITIVITY = 0.8

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LeakCells:
    """The H3 cells of the city, in a fixed order.

    On a day, a cell's rate of leak calls is its intensity (mean 1) times
    `exp(freeze_sensitivity * freeze_thaw_share + rain_sensitivity * heavy_rain)`.
    """

    seed: int
    cells: tuple[str, ...]
    longitude: Floats
    latitude: Floats
    intensity: Floats
    freeze_sensitivity: Floats
    rain_sensitivity: Floats

    def rates(self, day: date) -> Floats:
        """Return each cell's rate on one day; the mean over cells is 1 on a calm day."""
        freeze = freeze_thaw_share(self.seed, CITY, day)
        rain = heavy_rain(self.seed, CITY, day)
        stress = self.freeze_sensitivity * freeze + self.rain_sensitivity * rain
        return self.intensity * np.exp(stress)

    def points(self, day: date, size: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Return longitude and latitude of calls, drawn by the rates of one day."""
        running = np.cumsum(self.rates(day))
        pick = np.searchsorted(running, rng.random(size) * running[-1])
        radius = DISC_M / METERS_PER_DEGREE * np.sqrt(rng.random(size))
        angle = 2 * np.pi * rng.random(size)
        across = radius * np.cos(angle) / shortening(CITY)
        return self.longitude[pick] + across, self.latitude[pick] + radius * np.sin(angle)

    def published(self) -> dict[str, object]:
        """Return the cells as plain lists, ready for JSON."""
        return {
            "city": CITY,
            "resolution": RESOLUTION,
            "cells": list(self.cells),
            "intensity": np.round(self.intensity, 5).tolist(),
            "freeze_sensitivity": np.round(self.freeze_sensitivity, 5).tolist(),
            "rain_sensitivity": np.round(self.rain_sensitivity, 5).tolist(),
        }


@lru_cache(maxsize=8)
def leak_cells(seed: int) -> LeakCells:
    """Return the planted intensities of one seed."""
    corners = shapely.get_coordinates(outline(CITY))
    ring = h3.LatLngPoly([(latitude, longitude) for longitude, latitude in corners.tolist()])
    cells = sorted(h3.h3shape_to_cells(ring, RESOLUTION))
    centres = np.array([h3.cell_to_latlng(cell) for cell in cells])
    rng = np.random.default_rng([seed, RESOLUTION])
    intensity = rng.gamma(INTENSITY_SHAPE, size=len(cells)) + 0.02
    freeze = rng.gamma(4.0, MEAN_FREEZE_SENSITIVITY / 4.0, size=len(cells))
    rain = rng.gamma(4.0, MEAN_RAIN_SENSITIVITY / 4.0, size=len(cells))
    return LeakCells(
        seed=seed,
        cells=tuple(cells),
        longitude=centres[:, 1],
        latitude=centres[:, 0],
        intensity=intensity / intensity.mean(),
        freeze_sensitivity=freeze,
        rain_sensitivity=rain,
    )
