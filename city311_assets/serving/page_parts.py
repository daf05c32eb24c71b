"""What every published page is put together from: files beside it, plotly, the hash of a script."""

import base64
import hashlib
from functools import cache
from importlib.resources import files


@cache
def part(name: str) -> str:
    """Return the text of a file beside this one."""
    return files("city311_assets.serving").joinpath(name).read_text("utf-8")


@cache
def plotly_script() -> str:
    """Return plotly's script, so that nothing in it ends the element it stands in."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs().replace("</script", r"<\/script").replace("<!--", r"<\!--")


@cache
def script_hash(text: str) -> str:
    """Return what a page's policy calls a script that may run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
