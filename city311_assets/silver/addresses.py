"""The street of an address, for labels people can read."""

import polars as pl

CROSSING = r"(?i)^intersection of\s+(.+?)\s+(?:and|&)\s+.+$"
# House numbers, masked ones ("034XX") and ranges ("12-14") too.
HOUSE_NUMBER = r"^[0-9][0-9Xx]*(?:[-/][0-9Xx]+)?[A-Za-z]?\s+(?:1/2\s+)?"
FLAT = r"(?i)\s+(?:apt|unit|ste|suite|fl|rm|#)\.?\s*\S*$"


def streets(address: pl.Expr) -> pl.Expr:
    """Return addresses without house number, flat, city and ZIP; of a crossing its first street."""
    line = address.str.split(",").list.first().str.strip_chars()
    first = pl.coalesce(line.str.extract(CROSSING, 1), line)
    street = first.str.replace(HOUSE_NUMBER, "").str.replace(FLAT, "").str.replace_all(r"\s+", " ")
    return street.str.strip_chars().replace("", None)
