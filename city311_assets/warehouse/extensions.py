"""DuckDB's extensions: loaded from their own packages, by path, without a network.

What belongs here: where an extension is found, and what is said where it is not. What does not:
what it is used for.
"""

from importlib.util import find_spec
from pathlib import Path

import duckdb


class ExtensionMissingError(RuntimeError):
    """An extension is not installed, and may not be fetched."""


def load(conn: duckdb.DuckDBPyConnection, *names: str, may_fetch: bool = False) -> None:
    """Load extensions into a connection.

    Each is taken from its package (`duckdb-extension-<name>`) where that is installed, in this
    version of DuckDB; else DuckDB fetches it, if it may.

    Raises
    ------
    ExtensionMissingError
        There is no such package, and it may not be fetched.
    """
    for name in names:
        if path := _packaged(name):
            conn.execute("load '{}'".format(str(path).replace("'", "''")))
        elif may_fetch:
            conn.execute(f"install {name}")
            conn.execute(f"load {name}")
        else:
            package = f"duckdb-extension-{name.replace('_', '-')}=={duckdb.__version__}"
            raise ExtensionMissingError(
                f"DuckDB's extension {name} is not installed; install the package {package}, or "
                "let DuckDB fetch it with CITY311_DUCKDB_EXTENSIONS=fetch"
            )


def _packaged(name: str) -> Path | None:
    """Return the file of an extension in its package, for this version of DuckDB."""
    spec = find_spec(f"duckdb_extension_{name}")
    if spec is None:
        return None
    for folder in spec.submodule_search_locations or ():
        path = Path(folder, "extensions", f"v{duckdb.__version__}", f"{name}.duckdb_extension")
        if path.exists():
            return path
    return None
