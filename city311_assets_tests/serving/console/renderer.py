"""A console without a browser: a page is opened, and every callback is asked as a browser would.

What belongs here: what Dash's own script does with addresses, properties and callbacks. What does
not: what a page shows.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import quote

import httpx
from starlette.testclient import TestClient

from city311_assets.serving.console.url_state import Control, values_of

Prop = tuple[str, str]
UPDATE = "/_dash-update-component"
SHOWN = ".page.children"


@dataclass
class Opened:
    """A page that was opened: what it holds by component and property, and what went wrong."""

    props: dict[Prop, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def take(self, component: object) -> None:
        """Note every property of a component and of all that is in it."""
        for one in _components(component):
            name = one["props"].get("id")
            if isinstance(name, str):
                self.props |= {(name, prop): value for prop, value in one["props"].items()}


@dataclass(frozen=True)
class Renderer:
    """Opens pages of a console and asks their callbacks."""

    client: httpx.Client | TestClient

    @cached_property
    def callbacks(self) -> list[dict[str, Any]]:
        """What the console says its callbacks are, but those that are the browser's own."""
        every = self.client.get("/_dash-dependencies").json()
        return [one for one in every if not one["clientside_function"]]

    def opened(
        self,
        path: str,
        search: str,
        controls: Iterable[Control] = (),
        script: Callable[[Mapping[Prop, Any]], dict[Prop, Any]] = lambda _: {},
    ) -> Opened:
        """Open an address, put what it says into the page's controls, and ask each callback once.

        Those that wait for a click are asked as if it came; those that wait for what nobody has set
        are not. `script` does what a page's own script does after that: what it sets is set, and
        who hears of it is asked.
        """
        page = Opened({("url", "pathname"): path, ("url", "search"): search})
        (shown,) = (one for one in self.callbacks if SHOWN in one["output"])
        self._ask(shown, page)
        values = values_of(search, tuple(controls))
        page.props |= {(one.component, one.prop): values[one.name] for one in controls}
        names = {name for name, _ in page.props}
        left = [
            one
            for one in self.callbacks
            if one is not shown
            and all(into["id"] in names for into in [*one["inputs"], *one["state"]])
        ]
        while left:
            made = {prop for one in left for prop in _outputs(one["output"])}
            ready = [
                one for one in left if not made & set(_asked(one)) - set(_outputs(one["output"]))
            ]
            for one in ready or left[:1]:
                left.remove(one)
                waits = one["prevent_initial_call"]
                if not waits or any(_value(into, page) is not None for into in one["inputs"]):
                    self._ask(one, page)
        done = script(page.props)
        page.props |= done
        for one in self.callbacks:
            if {(into["id"], into["property"]) for into in one["inputs"]} & set(done):
                self._ask(one, page)
        return page

    def _ask(self, callback: Mapping[str, Any], page: Opened) -> None:
        """Ask one callback with what the page holds, and note what comes of it."""

        def given(wanted: Iterable[Mapping[str, str]]) -> list[dict[str, Any]]:
            return [{**one, "value": _value(one, page)} for one in wanted]

        output = callback["output"]
        outputs = [{"id": name, "property": prop} for name, prop in _outputs(output, whole=True)]
        first = callback["inputs"][0]
        answer = self.client.post(
            UPDATE,
            content=json.dumps(
                {
                    "output": output,
                    "outputs": outputs if output.startswith("..") else outputs[0],
                    "inputs": given(callback["inputs"]),
                    "state": given(callback["state"]),
                    "changedPropIds": [f"{first['id']}.{first['property']}"],
                }
            ),
            headers={"Content-Type": "application/json"},
        )
        told = f"{output[:60]} with {page.props.get(('url', 'search'))!r}"
        if answer.status_code not in {200, 204}:
            page.faults.append(f"{answer.status_code}: {told}")
            return
        said = answer.json() if answer.content else {}
        if problem := said.get("sideUpdate"):
            page.faults.append(f"{json.dumps(problem)[:200]}: {told}")
        for name, props in said.get("response", {}).items():
            page.props |= {(name, prop): value for prop, value in props.items()}
            for value in props.values():
                page.take(value)


def address(pairs: Iterable[tuple[str, str]]) -> str:
    """Return an address's query of names and texts, each however often it comes."""
    return "?" + "&".join(f"{quote(name)}={quote(text)}" for name, text in pairs)


def _value(wanted: Mapping[str, str], page: Opened) -> Any:  # whatever a page holds
    held = page.props.get((wanted["id"], wanted["property"]))
    return 1 if held is None and wanted["property"] == "n_clicks" else held


def _outputs(output: str, *, whole: bool = False) -> list[Prop]:
    """Return the properties that a callback sets; `whole` keeps what tells duplicates apart."""
    parts = output.strip(".").split("...")
    found = [part.rpartition(".") for part in parts]
    return [(name, prop if whole else prop.partition("@")[0]) for name, _, prop in found]


def _asked(callback: Mapping[str, Any]) -> list[Prop]:
    return [(one["id"], one["property"]) for one in [*callback["inputs"], *callback["state"]]]


def _components(value: object) -> Iterator[dict[str, Any]]:
    """Yield every component in a value."""
    if isinstance(value, list):
        for one in value:
            yield from _components(one)
    elif isinstance(value, dict) and isinstance(value.get("props"), dict):
        yield value
        yield from _components(value["props"].get("children"))
