"""The list of targets. Adding one is adding a module beside this one, and its name here."""

from city311_assets.risk.targets.leaks import LEAKS
from city311_assets.risk.targets.sanitation import SANITATION
from city311_assets.risk.targets.target import Target

TARGETS: dict[str, Target] = {target.name: target for target in (LEAKS, SANITATION)}


def target_named(name: str) -> Target:
    """Return a target by its name, or say which there are.

    Raises
    ------
    ValueError
        No target has that name.
    """
    if name not in TARGETS:
        raise ValueError(f"no target is called {name!r}; there are {', '.join(sorted(TARGETS))}")
    return TARGETS[name]
