"""The pictures of the README: the console's pages over the published file, as a browser shows them.

Run by `make pictures` after `make demo`. The pictures are of the sample city, and say so.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

FOLDER = Path(__file__).parent / "pictures"
WIDTH, HEIGHT = 1280, 800
COLOURS = 192
# A software renderer for the maps, on machines without a screen.
FLAGS = (
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)
# By name: the view, and what must be there before the picture is taken.
VIEWS = {
    "hotspots": ("/hotspots?feed=sf_311", "#page .js-plotly-plot:visible"),
    "atlas": ("/atlas?feed=sf_311", "#page .js-plotly-plot:visible"),
    "delays": ("/delays?feed=sf_311", "#page .js-plotly-plot:visible"),
    "risk": ("/risk", "#page .js-plotly-plot:visible"),
    "data": ("/data", "#page table"),
}
IDLE = "document.querySelectorAll('[data-dash-is-loading=true], ._dash-loading').length === 0"
QUIET_MS = 8_000


def take(page: Page, address: str, wanted: str, path: Path) -> None:
    """Open a view, wait until it is drawn, and save what is seen with few colours."""
    page.goto(address)
    page.wait_for_selector(wanted)
    page.wait_for_function(IDLE)
    # Tiles and shaders are drawn after the last answer; nothing in the page says when.
    page.wait_for_timeout(QUIET_MS)
    page.screenshot(path=path)
    with Image.open(path) as picture:
        few = picture.convert("RGB").quantize(COLOURS)
    few.save(path, optimize=True)


def main() -> None:
    """Take every picture."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        sys.exit("no chromium on this machine; Debian's package is called chromium")
    FOLDER.mkdir(exist_ok=True)
    served = subprocess.Popen(
        [sys.executable, "-m", "city311_assets.cli.main", "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        said = served.stdout.readline() if served.stdout else ""
        address = re.search(r"http://\S+", said)
        if address is None:
            sys.exit(f"the console did not start: {said}")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=[*FLAGS])
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            page.set_default_timeout(60_000)
            for name, (view, wanted) in VIEWS.items():
                take(page, address[0] + view, wanted, FOLDER / f"{name}.png")
            browser.close()
    finally:
        served.terminate()
        served.wait(timeout=20)


if __name__ == "__main__":
    main()
