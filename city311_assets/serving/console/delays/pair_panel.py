"""The pairs of the delays page: going through them, blindly if wanted, and rating them.

What belongs here: the panel and its callbacks. What does not: what is shown of a pair (`pairs`) and
how ratings are kept and written (`ratings`).
"""

from datetime import UTC, datetime
from typing import Any

import dash
from dash import dcc, html
from dash.development.base_component import Component

from city311_assets.serving.console.atlas.controls import inputs_of
from city311_assets.serving.console.delays import pairs
from city311_assets.serving.console.delays.effects import Effects
from city311_assets.serving.console.delays.ratings import (
    ANSWERS,
    answer_of,
    as_csv,
    kept,
    of_month,
    said,
    with_rating,
)
from city311_assets.serving.console.delays.selection import BLIND, CONTROLS, Selection, shown_of
from city311_assets.serving.console.url_state import Value
from city311_assets.serving.snapshots import Snapshot, Snapshots

BLINDLY = "Blind: hide neighbourhoods, hours and similarity; cases of all neighbourhoods"
RATING = {"type": "delays-rating", "control": dash.ALL}


def panel(chosen: Selection) -> Component:
    """Return the panel as the page's layout holds it."""
    return html.Section(
        [
            html.H2("Do the pairs really match?"),
            html.Div(
                [
                    dcc.Checklist(
                        id="delays-blind",
                        options=[
                            {
                                "label": BLINDLY,
                                "value": BLIND,
                            }
                        ],
                        value=[BLIND] if chosen.is_blind else [],
                    ),
                    html.Div(
                        [
                            html.Button("Back", id="delays-back", type="button"),
                            html.Button("Next case", id="delays-next", type="button"),
                        ],
                        className="buttons",
                    ),
                ],
                className="bar",
            ),
            html.P(id="delays-place", className="quiet", role="status"),
            html.Div(id="delays-pair"),
            html.Div(
                [
                    html.Span(id="delays-rated", role="status"),
                    html.Button("Save ratings as CSV", id="delays-save", type="button"),
                    dcc.ConfirmDialogProvider(
                        html.Button("Forget them", type="button"),
                        id="delays-forget",
                        message="Forget all ratings that this browser keeps, of every month?",
                    ),
                ],
                className="bar delays-rated",
            ),
        ],
        className="panel",
    )


def register_pairs(app: dash.Dash, snapshots: Snapshots) -> None:
    """Add the callbacks of the pairs and their ratings."""

    @app.callback(
        dash.Output("delays-pair", "children"),
        dash.Output("delays-place", "children"),
        dash.Output("delays-shown", "data"),
        inputs=inputs_of(CONTROLS, "estimator"),
    )
    async def paired(values: dict[str, Value]) -> tuple[Any, ...]:
        return await shown_of(snapshots, values, _paired)

    @app.callback(
        dash.Output("delays-case", "data", allow_duplicate=True),
        inputs={
            "clicks": [
                dash.Input("delays-back", "n_clicks"),
                dash.Input("delays-next", "n_clicks"),
            ],
            "shown": dash.State("delays-shown", "data"),
        }
        | inputs_of(CONTROLS, "feed", "month", "estimator"),
        prevent_initial_call=True,
    )
    async def gone(clicks: list[int | None], shown: str | None, values: dict[str, Value]) -> Any:  # noqa: ARG001, ANN401  # counts of clicks say nothing; a record id, nothing, or no change
        by = {one.split(".")[0] for one in dash.ctx.triggered_prop_ids}
        return await shown_of(
            snapshots, values, lambda _, effects, chosen, __: _next_case(effects, chosen, shown, by)
        )

    @app.callback(
        output={
            "given": dash.Output(RATING, "value"),
            "ratings": dash.Output("delays-ratings", "data"),
            "said": dash.Output("delays-rated", "children"),
            "is_empty": dash.Output("delays-save", "disabled"),
        },
        inputs={
            "given": dash.Input(RATING, "value"),
            "ids": dash.State(RATING, "id"),
            "ratings": dash.Input("delays-ratings", "data"),
            "shown": dash.Input("delays-shown", "data"),
        }
        | inputs_of(CONTROLS, *(control.name for control in CONTROLS)),
    )
    async def rated(
        given: list[str | None],
        ids: list[dict[str, str]],
        ratings: object,
        shown: str | None,
        values: dict[str, Value],
    ) -> dict[str, Any]:
        is_given = any("control" in str(one) for one in dash.ctx.triggered_prop_ids)
        answers = given if is_given else [None] * len(given)
        controls = [one["control"] for one in ids]

        def rate(_: Snapshot, __: Effects, chosen: Selection, ___: object) -> dict[str, Any]:
            return _rated(chosen, shown, dict(zip(controls, answers, strict=True)), ratings)

        return await shown_of(snapshots, values, rate)

    @app.callback(
        dash.Output("delays-saved", "data"),
        inputs={
            "clicks": dash.Input("delays-save", "n_clicks"),
            "ratings": dash.State("delays-ratings", "data"),
        }
        | inputs_of(CONTROLS, *(control.name for control in CONTROLS)),
        prevent_initial_call=True,
    )
    async def saved(clicks: int | None, ratings: object, values: dict[str, Value]) -> Any:  # noqa: ANN401  # a file or no change
        if not clicks:
            return dash.no_update

        def save(snapshot: Snapshot, _: Effects, chosen: Selection, __: object) -> dict[str, Any]:
            month = f"{chosen.month:%Y-%m}"
            held = of_month(kept(ratings), chosen.feed, month)
            text = as_csv(snapshot, held, chosen.feed, month)
            name = f"ratings_{chosen.feed}_{month}.csv"
            return {
                "content": text,
                "filename": name,
                "type": "text/csv",
            }

        return await shown_of(snapshots, values, save)

    @app.callback(
        dash.Output("delays-ratings", "data", allow_duplicate=True),
        dash.Input("delays-forget", "submit_n_clicks"),
        prevent_initial_call=True,
    )
    async def forgotten(clicks: int | None) -> Any:  # noqa: ANN401  # a list or no change
        return [] if clicks else dash.no_update


def _paired(
    snapshot: Snapshot, effects: Effects, chosen: Selection, _: object
) -> tuple[Component, str, str | None]:
    record, found = pairs.shown(snapshot, effects, chosen)
    return (
        pairs.cards(effects, chosen, record, found),
        pairs.place_words(effects, chosen, record),
        record,
    )


def _next_case(effects: Effects, chosen: Selection, shown: str | None, by: set[str]) -> Any:  # noqa: ANN401  # a record id, nothing, or no change
    """Return which case comes next, by what was changed: a button, who is looked at, blindness."""
    if by & {"delays-back", "delays-next"}:
        return pairs.step(effects, chosen, shown, -1 if "delays-back" in by else 1)
    # An address that says which case is to be shown is left alone.
    if "delays-case" in by or chosen.case is None:
        return dash.no_update
    if "delays-blind" in by:
        # Who has rated a pair blindly may see what it was.
        return None if chosen.is_blind else dash.no_update
    case = effects.case(chosen.case)
    is_of_another = case is None or case["neighborhood"] != chosen.neighborhood
    return None if is_of_another and not chosen.is_blind else dash.no_update


def _rated(
    chosen: Selection, shown: str | None, given: dict[str, str | None], ratings: object
) -> dict[str, Any]:
    """Return the ratings with those just given, and what each pair on the page is rated."""
    held = before = kept(ratings)
    month = f"{chosen.month:%Y-%m}"
    answers = []
    for control, answer in given.items():
        pair = {
            "feed": chosen.feed,
            "month": month,
            "record_id": shown or "",
            "control_id": control,
        }
        earlier = answer_of(held, pair)
        if answer in ANSWERS and answer != earlier:
            held = with_rating(held, pair, answer, chosen.is_blind, datetime.now(UTC))
        answers.append(answer or earlier)
    of_this_month = of_month(held, chosen.feed, month)
    return {
        "given": answers,
        "ratings": dash.no_update if held is before else held,
        "said": said(of_this_month),
        "is_empty": not of_this_month,
    }
