"""The text of a case: what was known when it was filed, in words.

What belongs here: which columns are a case's text, and how they are joined. What does not: what a
model sees in a photo. Notes of the agency, closings and addresses are never part of it: notes are
written at closing, and would put the outcome into whatever is learnt from the text.
"""

import polars as pl

from city311_assets.atlas.methods.redaction import redacted

# The rule by name: a text changes only with it. Captions have it as their prompt version.
CASE_TEXT = "case-text-1"
COLUMNS = ("kind", "subkind", "description")
SEPARATOR = ". "


def case_texts(requests: pl.DataFrame) -> pl.DataFrame:
    """Return the text of each case as `day, record_id, text`; a case without words has no row.

    Parameters
    ----------
    requests
        `day, record_id, kind, subkind, description`; whatever else it has is not looked at.

    Returns
    -------
    One row a case, in the order given. The three parts stand from coarse to fine; a part that
    repeats one before it, whatever the case of its letters, is left out; underscores are spaces;
    phone numbers, e-mail addresses and licence plates are redacted.
    """
    parts = requests.select("day", "record_id", *map(_words, COLUMNS)).with_columns(
        pl.when(~_is_said("subkind", "kind")).then("subkind").alias("subkind"),
        pl.when(~_is_said("description", "kind") & ~_is_said("description", "subkind"))
        .then("description")
        .alias("description"),
    )
    texts = parts.select(
        "day",
        "record_id",
        pl.concat_str(COLUMNS, separator=SEPARATOR, ignore_nulls=True).alias("text"),
    ).filter(pl.col("text") != "")
    # Most texts are of few kinds: each is redacted once.
    said = texts.get_column("text").unique()
    known = pl.DataFrame(
        {"text": said, "redacted": [redacted(text) for text in said]},
        schema={"text": pl.String, "redacted": pl.String},
    )
    return texts.join(known, on="text", how="left", maintain_order="left").select(
        "day", "record_id", pl.col("redacted").alias("text")
    )


def _words(column: str) -> pl.Expr:
    """Return a column's words on one line; null where it has none."""
    spaced = pl.col(column).str.replace_all(r"[\s_\x00]+", " ").str.strip_chars()
    return pl.when(spaced != "").then(spaced).alias(column)


def _is_said(part: str, before: str) -> pl.Expr:
    """Whether a part says what one before it has said."""
    same = pl.col(part).str.to_lowercase() == pl.col(before).str.to_lowercase()
    return same.fill_null(value=False)
