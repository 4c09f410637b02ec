"""Takes docs/review.png, the picture of the review page in README; with a folder, every page in every size too.

The page shows the drawn faces of `agebench demo`, never real people. `make screenshots` runs it; it needs chromium.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from agebench.demo.releases import draw_releases

SIZES = {"1280": (1280, 800), "1920": (1920, 1080), "390": (390, 844)}
SCHEMES = ("light", "dark")
RECORDS, SEED = 160, 5
READY = "() => seen() !== null"
TILES = "() => tiles().length && tiles().every((tile) => tile.querySelector('img').complete)"
LOADED = "() => [...document.images].filter((one) => one.src && one.checkVisibility()).every((one) => one.complete)"


def main(picture: Path, every: Path | None) -> None:
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as entrance, sync_playwright() as playwright:
        chromium = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        look = telling_record(open_page(browser, entrance))
        page = open_page(browser, entrance)
        show_record(page, entrance, look)
        save(page, picture)
        if every:
            every.mkdir(parents=True, exist_ok=True)
            for size, (width, height) in SIZES.items():
                for scheme in SCHEMES:
                    page = open_page(browser, entrance, f"{size}-{scheme}", width, height, scheme)
                    take_all(page, entrance, look, every, f"{size}-{scheme}")
        browser.close()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A curated demo release with an audit; yields the address of its review page."""
    draw_releases(folder, records=RECORDS, seed=SEED)
    agebench = [sys.executable, "-m", "agebench"]
    for words in (["curate", "imdb-wiki"], ["review", "audit", "--n", "20", "--seed", "1"]):
        subprocess.run([*agebench, *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    serve = [*agebench, "review", "serve", "--port", "0"]
    with subprocess.Popen(serve, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        try:
            yield next(line.strip() for line in server.stdout if line.startswith("http://"))
        finally:
            server.terminate()


def open_page(
    browser: Any, entrance: str, name: str = "anna", width: int = 1280, height: int = 800, scheme: str = "light"
) -> Page:
    """A page of its own, of a reviewer of that name."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, has_touch=width < 500
    )
    context.add_init_script(f"localStorage['agebench-reviewer'] = {name!r}")
    page: Page = context.new_page()
    page.goto(entrance)
    page.wait_for_function(READY)
    return page


def telling_record(page: Page) -> int:
    """A waiting record that shows what the page can do: two faces, an estimate, other photographs of the subject."""
    found = page.evaluate(
        """async () => {
            const { records } = await (await fetch('/api/queue?by=anna&limit=100')).json();
            const all = await Promise.all(records.map(async (id) => (await fetch(`/api/record/${id}`)).json()));
            const worth = (one) => (one.faces.length === 2) * 4 + (one.relatives.length > 2) * 2
                + one.faces.some((face) => face.meant && face.suggested_age !== null) + (one.claimed !== null);
            return all.filter((one) => one.readable).sort((one, other) => worth(other) - worth(one))[0].id;
        }"""
    )
    return int(found)


def show_record(page: Page, entrance: str, record: int) -> None:
    page.goto(f"{entrance.partition('/?')[0]}/#look={record}")
    page.reload()
    page.wait_for_function(READY)


def take_all(page: Page, entrance: str, record: int, folder: Path, suffix: str) -> None:
    """Every page, the audit in both of its steps."""
    address = entrance.partition("/?")[0]

    def take(name: str, *, whole: bool = False) -> None:
        page.wait_for_function(LOADED)
        page.screenshot(path=folder / f"{name}-{suffix}.png", full_page=whole)

    show_record(page, entrance, record)
    take("record")
    page.keyboard.press("f")
    take("record-other-face")
    page.keyboard.press("?")
    take("keys")
    page.keyboard.press("Escape")
    page.locator("#filters summary").click()
    take("filters")
    page.goto(f"{address}/grid")
    page.wait_for_function(TILES)
    take("grid")
    page.goto(f"{address}/audit/20-1")
    page.wait_for_function(READY)
    take("audit-1")
    page.locator("#looks").fill("30")
    page.keyboard.press("Enter")
    page.wait_for_function("() => seen()?.looks === 30")
    take("audit-2")
    page.goto(f"{address}/overview")
    page.evaluate("() => document.images && [...document.images].forEach((one) => { one.loading = 'eager'; })")
    take("overview", whole=True)


def save(page: Page, picture: Path) -> None:
    """A screenshot with a palette: a third of the bytes, and no difference to see."""
    page.wait_for_function(LOADED)
    with Image.open(io.BytesIO(page.screenshot())) as image:
        image.convert("RGB").quantize(256, kmeans=3).save(picture, optimize=True)


if __name__ == "__main__":
    main(Path(__file__).parent / "review.png", Path(sys.argv[1]) if len(sys.argv) > 1 else None)
