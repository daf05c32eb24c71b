"""What a route of the API is: declared as one value, described and answered from it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from city311_assets.serving.api.parameters import Asked, Parameter
from city311_assets.serving.snapshots import Snapshot

JSON, GEOJSON = "application/json", "application/geo+json"


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One question that the published file answers, the same way until another is published.

    Attributes
    ----------
    path
        Its address, with `{parameters}`.
    name
        Short and unique; the name of a saved file.
    summary, doc
        What it answers: a line, and more.
    parameters
        All it knows; any other is refused.
    schema
        JSON schema of the answer; None where it is no JSON.
    make
        Makes the answer's body. Raises ProblemError.
    media_type
        The type of the body.
    cache_control
        How long others may keep it.
    is_kept
        Whether a made body is kept for who asks next.
    """

    path: str
    name: str
    summary: str
    doc: str
    parameters: tuple[Parameter, ...]
    schema: Mapping[str, Any] | None
    make: Callable[[Snapshot, Asked], bytes]
    media_type: str = JSON
    # Whoever keeps an answer asks whether it still holds: a 304 costs a millisecond.
    cache_control: str = "no-cache"
    is_kept: bool = True

    @property
    def file_ending(self) -> str:
        """The ending of a saved file."""
        return "geojson" if self.media_type == GEOJSON else "json"
