"""The tables the sample city is made from, in `kinds/` and `places/`; a missing one is named."""

import csv
from importlib.resources import files


class NotSimulatedError(ValueError):
    """Something was asked that the sample city has no declaration or table for."""


def has_table(name: str) -> bool:
    """Return whether there is a table, such as `kinds/sf_311.csv`."""
    return files("city311_assets.sample_city").joinpath(*name.split("/")).is_file()


def lines(name: str) -> list[str]:
    """Return the lines of a table.

    Raises
    ------
    NotSimulatedError
        There is no such table.
    """
    if not has_table(name):
        raise NotSimulatedError(
            f"the sample city has no {name}; docs/adding_a_city.md says what it holds"
        )
    text = files("city311_assets.sample_city").joinpath(*name.split("/")).read_text("utf-8")
    return text.splitlines()


def rows(name: str) -> list[dict[str, str]]:
    """Return the rows of a CSV table, texts by column.

    Raises
    ------
    NotSimulatedError
        There is no such table.
    """
    return list(csv.DictReader(lines(name)))
