"""Priors: the numbers behind costs and actions, each with its unit, its range and its source.

What belongs here: reading and refusing them, and drawing from them. What does not: what is computed
from them. The numbers are in `priors.toml` beside the package's targets.
"""

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from city311_assets.gold.methods.arrays import Floats

PACKAGE_FILE = Path(__file__).parents[1] / "priors.toml"
End = Literal["low", "central", "high"]
Values = Mapping[str, float | Floats]

KINDS = ("source", "assumption")
TEXT, NUMBER, WHOLE = ("text", (str,)), ("number", (int, float)), ("whole number", (int,))
FIELDS = {
    "unit": TEXT,
    "low": NUMBER,
    "central": NUMBER,
    "high": NUMBER,
    "source": TEXT,
    "year": WHOLE,
    "kind": TEXT,
}
# The higher these are, the lower are costs and savings.
FALLING = frozenset({"pump_efficiency", "pressure"})
# A prior that spans more than this factor is drawn on the scale of logarithms: its high end, often
# the only one with a source, is not to decide its mean.
WIDE = 3.0


@dataclass(frozen=True)
class Prior:
    """One number that no record says: a range with a mode, its unit, and where it is from."""

    name: str
    unit: str
    low: float
    central: float
    high: float
    source: str
    year: int
    kind: str

    @property
    def is_log(self) -> bool:
        """Whether it is drawn on the scale of logarithms."""
        return self.low > 0 and self.high > WIDE * self.low

    def quantile(self, u: Floats) -> Floats:
        """Return quantiles of the triangular distribution between its ends, its mode central.

        Of a wide prior the logarithm is triangular. `u` is (n,), between 0 and 1.
        """
        low, mode, high = self.low, self.central, self.high
        if low == high:
            return np.full(np.shape(u), self.central)
        if self.is_log:
            low, mode, high = math.log(low), math.log(mode), math.log(high)
        rising = low + np.sqrt(u * (high - low) * (mode - low))
        falling = high - np.sqrt((1 - u) * (high - low) * (high - mode))
        value = np.where(u < (mode - low) / (high - low), rising, falling)
        # What the logarithm rounds is not to leave the range.
        return np.clip(np.exp(value) if self.is_log else value, self.low, self.high)


@dataclass(frozen=True)
class Priors:
    """All priors in use, sorted by name."""

    entries: tuple[Prior, ...]

    def __getitem__(self, name: str) -> Prior:
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Prior]:
        return {prior.name: prior for prior in self.entries}

    @cached_property
    def version(self) -> str:
        """The first 12 digits of the SHA-256 of everything they say."""
        said = json.dumps([asdict(prior) for prior in self.entries], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:12]

    def draws(self, rng: np.random.Generator, n: int) -> dict[str, Floats]:
        """Return n draws of each prior, independent of each other.

        The same generator gives a prior the same uniform numbers, whatever the others are: changing
        one changes only what depends on it.
        """
        uniform = rng.random((len(self.entries), n))
        return {
            prior.name: prior.quantile(u) for prior, u in zip(self.entries, uniform, strict=True)
        }

    def at(self, end: End) -> dict[str, float]:
        """Return every prior at an end: that of low costs and savings, the middle, that of high."""
        turned: dict[End, End] = {"low": "high", "central": "central", "high": "low"}
        return {
            prior.name: getattr(prior, turned[end] if prior.name in FALLING else end)
            for prior in self.entries
        }

    def fixed(self, name: str, end: End) -> "Priors":
        """Return the priors with one of them certain, at an end of its own range."""
        value = getattr(self[name], end)
        sure = replace(self[name], low=value, central=value, high=value)
        return Priors(tuple(sure if prior.name == name else prior for prior in self.entries))


def read_priors(override: Path | None = None) -> Priors:
    """Return the package's priors, those of a file in place of their namesakes.

    Raises
    ------
    ValueError
        If a file cannot be read, names a prior that does not exist, leaves out one of its fields,
        or says what cannot be.
    """
    if override is not None:
        if not override.is_file():
            raise ValueError(
                f"{override} is no file; set CITY311_RISK_PRIORS to one, or to nothing for the "
                "package's priors"
            )
        return _read(override, override.read_bytes())
    return _read(None, b"")


@lru_cache(maxsize=8)
def _read(path: Path | None, content: bytes) -> Priors:
    own = {
        name: _prior(PACKAGE_FILE, name, told)
        for name, told in _tables(PACKAGE_FILE, PACKAGE_FILE.read_bytes()).items()
    }
    if path is not None:
        given = _tables(path, content)
        if strange := sorted(set(given) - set(own)):
            raise ValueError(
                f"{path}: no priors are called {strange}; there are {', '.join(sorted(own))}"
            )
        for name, told in given.items():
            prior = _prior(path, name, told)
            if prior.unit != own[name].unit:
                raise ValueError(
                    f"{path}: prior {name} is in {prior.unit!r}; give it in {own[name].unit!r}"
                )
            own[name] = prior
    return Priors(tuple(own[name] for name in sorted(own)))


def _tables(path: Path, content: bytes) -> dict[str, dict[str, object]]:
    try:
        tables = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no TOML: {error}; mend it there") from error
    if loose := sorted(name for name, told in tables.items() if not isinstance(told, dict)):
        raise ValueError(f"{path}: {loose} stand outside a table; write [{loose[0]}] above fields")
    return tables


def _prior(path: Path, name: str, told: dict[str, object]) -> Prior:
    """Return one prior of a file, or say what is wrong with it."""
    here = f"{path}: prior {name}"
    if missing := [field for field in FIELDS if told.get(field) in (None, "")]:
        raise ValueError(f"{here} has no {', '.join(missing)}; add it to [{name}]")
    if strange := sorted(set(told) - set(FIELDS)):
        raise ValueError(f"{here} has unknown fields {strange}; it has {', '.join(FIELDS)}")
    wrong = [
        f"{field} is {told[field]!r}, not a {words}"
        for field, (words, types) in FIELDS.items()
        if not isinstance(told[field], types) or isinstance(told[field], bool)
    ]
    if wrong:
        raise ValueError(f"{here}: {', '.join(wrong)}; mend it in [{name}]")
    prior = Prior(
        name=name,
        unit=str(told["unit"]),
        low=float(str(told["low"])),
        central=float(str(told["central"])),
        high=float(str(told["high"])),
        source=str(told["source"]),
        year=int(str(told["year"])),
        kind=str(told["kind"]),
    )
    if prior.kind not in KINDS:
        raise ValueError(f"{here}: kind is {prior.kind!r}; give one of {', '.join(KINDS)}")
    # Turned round, so that a number that is none is refused too.
    if not 0 <= prior.low <= prior.central <= prior.high < math.inf:
        raise ValueError(
            f"{here}: {prior.low:g}, {prior.central:g}, {prior.high:g} are not in order; "
            "give 0 <= low <= central <= high"
        )
    if prior.unit.startswith("share") and prior.high > 1:
        raise ValueError(f"{here}: a share of {prior.high:g} is more than all; give at most 1")
    if name in FALLING and prior.low == 0:
        raise ValueError(f"{here}: 0 would be divided by; give a low end above 0")
    return prior
