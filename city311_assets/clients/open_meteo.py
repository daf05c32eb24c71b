"""Daily weather of a place from Open-Meteo: the archive's reanalysis, and the forecast.

Weather data by Open-Meteo.com, CC BY 4.0.
"""

import json
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from city311_assets.clients.errors import MalformedAnswerError
from city311_assets.clients.http import Asker, Patience
from city311_assets.feeds.feed import City

ATTRIBUTION = "Weather data by Open-Meteo.com, CC BY 4.0"
LONGEST_FORECAST_DAYS = 16
DAYS_SHOWN = 5

# Our columns, each with the service's name and the unit it must come in.
VARIABLES = {
    "temperature_min_c": ("temperature_2m_min", "°C"),
    "temperature_max_c": ("temperature_2m_max", "°C"),
    "precipitation_mm": ("precipitation_sum", "mm"),
    "snowfall_cm": ("snowfall_sum", "cm"),
}


@dataclass(frozen=True, slots=True)
class _Endpoint:
    asker: Asker
    path: str

    @property
    def url(self) -> str:
        """The address, without a query."""
        return f"{self.asker.base_url}{self.path}"


class OpenMeteo:
    """Asks once per city and range, never per cell. Use it as a context manager."""

    def __init__(
        self, archive_url: str, forecast_url: str, *, patience: Patience | None = None
    ) -> None:
        self._archive = _Endpoint(Asker(archive_url, patience=patience), "/v1/archive")
        self._forecast = _Endpoint(Asker(forecast_url, patience=patience), "/v1/forecast")

    def __enter__(self) -> "OpenMeteo":
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.asker.close()
        self._forecast.asker.close()

    def archive(self, city: City, start: date, end: date) -> pl.DataFrame:
        """Return observed weather of the local days from `start` up to, not including, `end`.

        Columns `day` and those of `VARIABLES`; null where the archive does not know yet.

        Raises
        ------
        RequestRefusedError, SourceUnavailableError, MalformedAnswerError
        """
        window = {"start_date": str(start), "end_date": str(end - timedelta(days=1))}
        days = self._daily(self._archive, city, window)
        inside = days.filter(pl.col("day").is_between(start, end, closed="left"))
        _refuse_other_days(inside, start, (end - start).days, self._archive.url)
        return inside

    def forecast(self, city: City, days: int = LONGEST_FORECAST_DAYS) -> pl.DataFrame:
        """Return the newest forecast from the local today on; columns as of `archive`.

        Raises
        ------
        RequestRefusedError, SourceUnavailableError, MalformedAnswerError
        """
        rows = self._daily(self._forecast, city, {"forecast_days": str(days)})
        _refuse_other_days(rows, rows["day"][0], days, self._forecast.url)
        return rows

    def _daily(self, endpoint: _Endpoint, city: City, window: dict[str, str]) -> pl.DataFrame:
        answer = endpoint.asker.json(
            endpoint.path,
            {
                "latitude": str(city.latitude),
                "longitude": str(city.longitude),
                "timezone": city.timezone,
                "daily": ",".join(theirs for theirs, _ in VARIABLES.values()),
                **window,
            },
        )
        url = endpoint.url
        daily = answer.get("daily") if isinstance(answer, dict) else None
        units = answer.get("daily_units") if isinstance(answer, dict) else None
        if not isinstance(daily, dict) or not isinstance(units, dict):
            raise MalformedAnswerError("no daily values", url=url, said=json.dumps(answer)[:200])
        times = daily.get("time") or []
        for theirs, unit in VARIABLES.values():
            values = daily.get(theirs) or []
            is_list = isinstance(values, list) and isinstance(times, list)
            if not times or not is_list or len(values) != len(times):
                raise MalformedAnswerError(f"no {theirs} for every day", url=url)
            if units.get(theirs) != unit:
                raise MalformedAnswerError(
                    f"{theirs} came in {units.get(theirs)!r}, not in {unit!r}", url=url
                )
        try:
            return pl.DataFrame(
                {"day": times, **{ours: daily[theirs] for ours, (theirs, _) in VARIABLES.items()}},
                schema={"day": pl.String, **dict.fromkeys(VARIABLES, pl.Float64)},
            ).with_columns(pl.col("day").str.to_date("%Y-%m-%d"))
        except (pl.exceptions.PolarsError, TypeError) as error:
            raise MalformedAnswerError(
                "a value is no number or a time no day", url=url, said=str(error)[:200]
            ) from error


def _refuse_other_days(rows: pl.DataFrame, first: date, count: int, url: str) -> None:
    """Raise unless each day asked for came, once and in order."""
    wanted = [first + timedelta(days=number) for number in range(count)]
    came = rows["day"].to_list()
    if came != wanted:
        missing = sorted(set(wanted) - set(came))
        raise MalformedAnswerError(
            f"{len(came)} days came for the {count} from {first}; missing: "
            f"{', '.join(map(str, missing[:DAYS_SHOWN])) or 'none'}",
            url=url,
        )
