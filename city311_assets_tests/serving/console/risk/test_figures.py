"""What the Risk page draws."""

from typing import Any

import polars as pl
import pytest

from city311_assets.risk.targets.registry import TARGETS
from city311_assets.serving.console.risk.figures import risk_map

LEAKS = TARGETS["leaks"]
CELLS = 1_000


def scored(p: list[float], cost: list[float]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "cell": [f"89266{place:010x}" for place in range(len(p))],
            "p": p,
            "low": p,
            "high": p,
            "cost": cost,
            "p90_cost": cost,
            "label": "somewhere",
            "risk_band": "low",
            "decile": 1,
            "latitude": 41.9,
            "longitude": -87.7,
        }
    )


def colorbar(frame: pl.DataFrame, layer: str) -> tuple[dict[str, Any], dict[float, str]]:
    figure = risk_map(
        LEAKS,
        frame,
        layer,
        thresholds={"medium": 0.1, "high": 0.6},
        clusters=(),
        taken=frozenset(),
        cell="",
    )
    (shown,) = (trace for trace in figure["data"] if trace["name"] == "cells")
    bar = shown["colorbar"]
    return shown, dict(zip(bar["tickvals"], bar["ticktext"], strict=True))


@pytest.mark.parametrize(
    ("layer", "end"), [("probability", "25 % to 49 %"), ("cost", "$250 to $490")]
)
def test_the_end_of_a_scale_says_what_lies_beyond_it(layer: str, end: str):
    p = [0.25 * place / CELLS for place in range(CELLS)] + [0.25] * 10 + [0.4, 0.49]
    shown, ticks = colorbar(scored(p, [1_000 * one for one in p]), layer)
    top = max(ticks)
    assert ticks[top] == end
    assert shown["zmax"] == top
    at = sorted(ticks)
    assert at[0] == 0
    assert len(at) >= 3


def test_where_no_cell_lies_beyond_the_scale_ends_with_the_highest():
    p = [0.5 * place / CELLS for place in range(CELLS)]
    _, ticks = colorbar(scored([*p, *[0.5] * 50], p + [0.5] * 50), "probability")
    assert not any(" to " in text for text in ticks.values())
    assert ticks[0.1] == "medium from 10 %"
    assert "high" not in "".join(ticks.values())


def test_cells_without_a_price_have_a_scale_all_the_same():
    frame = scored([0.1, 0.2], [1.0, 2.0]).with_columns(cost=pl.lit(None, pl.Float64))
    shown, _ = colorbar(frame, "cost")
    assert shown["zmax"] == 1.0
