"""What a month of the atlas stands on: its window of days, and the texts of its cases.

What belongs here: questions that several tables of the atlas ask of the warehouse. What does not:
what is made of the answers.
"""

from datetime import date

import polars as pl

from city311_assets.partitions import Slice
from city311_assets.settings import settings
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.atlas import CAPTIONS

# A case with several photos is described by all of them together.
TEXTS = f"""
    select day, record_id, string_agg(caption, ' ' order by described) as text,
        max(severity) as severity, min(caption_method) as caption_method
    from {CAPTIONS} where {CAPTIONS.where} and caption is not null
    group by all order by day, record_id
"""


def window_of(part: Slice, month: date) -> Slice:
    """Return the days that a month's map is made of: the window's months, the newest included."""
    return part.month(month).reaching_back(months=settings().atlas_window_months - 1)


def texts_of(warehouse: Warehouse, part: Slice) -> pl.DataFrame:
    """Return `day, record_id, text, severity, caption_method` of the cases of a slice."""
    return warehouse.read(TEXTS, part, [CAPTIONS])
