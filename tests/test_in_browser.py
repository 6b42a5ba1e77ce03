"""The pages in a browser, headless Chromium: scripts run without an error, clicks and keys do what they say, and no text of
a warehouse acts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from attnrules.pages import write_site
from attnrules.warehouse import Warehouse
from tests.test_browse import served
from tests.test_pages import HOSTILE, hostile
from tests.test_stated_on_model import store

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed: pip install 'attnrules[dev]'"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Wide, and as narrow as a telephone.
WIDTHS = (1280, 360)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        if CHROMIUM is None and not Path(playwright.chromium.executable_path).exists():
            pytest.skip("no Chromium: apt install chromium, or playwright install chromium")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@contextmanager
def opened(chromium: Any, **options: Any) -> Iterator[Any]:
    """A page; whatever goes wrong in it while it is open fails the test."""
    page = chromium.new_page(**options)
    problems: list[str] = []

    def said(message: Any) -> None:
        if message.type in ("error", "warning"):
            problems.append(f"{page.url}: {message.text}")

    def asked(dialog: Any) -> None:
        problems.append(f"{page.url}: a dialog: {dialog.message}")
        dialog.dismiss()

    page.on("console", said)
    page.on("pageerror", lambda error: problems.append(f"{page.url}: {error}"))
    page.on("requestfailed", lambda request: problems.append(f"{request.url} was not loaded"))
    page.on("dialog", asked)
    yield page
    page.close()
    assert problems == []


@pytest.fixture(scope="module")
def site(small_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("browser") / "site"
    with Warehouse.open(small_once) as warehouse:
        write_site(warehouse, folder)
    return folder


def a_feature(site: Path, head: str = "L0H0") -> Path:
    """The page of the first feature of a head."""
    return min((site / head).glob("[0-9]*.html"), key=lambda path: int(path.stem))


def test_pages_load_and_no_text_of_a_warehouse_acts(chromium: Any, small_once: Path, tmp_path: Path) -> None:
    with Warehouse.open(hostile(small_once, tmp_path)) as warehouse:
        write_site(warehouse, tmp_path / "site")
    # Of each head its own page and the first feature's: tests/test_pages.py reads all of them.
    heads = sorted((tmp_path / "site").glob("L*"))
    pages = [tmp_path / "site" / "index.html", *(head / "index.html" for head in heads)]
    pages += [a_feature(tmp_path / "site", head.name) for head in heads if len(list(head.iterdir())) > 2]
    assert len(pages) > 8
    seen = ""
    with opened(chromium) as page:
        for path in pages:
            page.goto(path.as_uri())
            seen += page.locator("main").inner_text()
    # A script that stood in the text would have run: it is text.
    assert HOSTILE[0] in seen


def test_links_lead_from_the_model_to_a_feature_and_back(chromium: Any, site: Path) -> None:
    with opened(chromium) as page:
        page.goto((site / "index.html").as_uri())
        page.get_by_role("link", name="L0H0").first.click()
        page.locator("#features tbody a").first.click()
        assert page.url == a_feature(site).as_uri()
        # Keys are heard once the script is there.
        page.wait_for_load_state()
        page.keyboard.press("j")
        page.wait_for_url(lambda url: url != a_feature(site).as_uri())
        page.keyboard.press("k")
        page.wait_for_url(a_feature(site).as_uri())
        page.keyboard.press("u")
        page.wait_for_url("**/L0H0/index.html")


def test_the_table_of_features_is_filtered_and_sorted(chromium: Any, site: Path, small_once: Path) -> None:
    with Warehouse.open(small_once) as warehouse:
        n_ruled = warehouse.value("SELECT count(DISTINCT feature) FROM rules WHERE (layer, head) = (0, 0)")
        n_tokens = [
            n for (n,) in warehouse.rows(
                "SELECT n_tokens FROM output_features WHERE (layer, head) = (0, 0) AND n_tokens > 0"
                " ORDER BY n_tokens DESC"
            )
        ]  # fmt: skip
    with opened(chromium) as page:
        page.goto((site / "L0H0" / "index.html").as_uri())
        rows = page.locator("#features tbody tr")
        assert rows.count() == n_ruled
        page.get_by_label("only those with a page").uncheck()
        assert rows.count() == len(n_tokens)
        tokens = page.locator("#features th", has_text="tokens")
        tokens.click()
        assert tokens.get_attribute("aria-sort") == "descending"
        cells = page.locator("#features tbody tr td:nth-child(6)").all_inner_texts()
        assert [int(cell.replace(",", "")) for cell in cells] == n_tokens
        page.keyboard.press("/")
        page.keyboard.type(f"{a_feature(site).stem}")
        assert 0 < rows.count() < len(n_tokens)
        page.get_by_label("Filter").fill("no such feature")
        assert rows.count() == 0
        assert page.get_by_role("status").inner_text() == f"0 of {len(n_tokens)} features"


def test_heads_are_coloured_by_what_is_chosen(chromium: Any, site: Path) -> None:
    with opened(chromium) as page:
        page.goto((site / "index.html").as_uri())
        head = page.locator(".heads td").first
        colour = lambda: head.evaluate("cell => getComputedStyle(cell).backgroundColor")  # noqa: E731
        by_role = colour()
        assert not head.locator(".of-absence").is_visible()
        page.get_by_label("absence confirmed").check()
        assert head.locator(".of-absence").is_visible()
        page.get_by_label("how much rules explain").check()
        assert colour() != by_role
        page.get_by_label("role", exact=True).check()
        assert colour() == by_role


def test_a_query_is_shown_and_copied(chromium: Any, site: Path) -> None:
    with opened(chromium) as page:
        page.goto(a_feature(site).as_uri())
        query = page.locator("details.query").first
        assert not query.locator("code").is_visible()
        query.locator("summary").click()
        assert "SELECT" in query.locator("code").inner_text()
        query.get_by_role("button", name="Copy").click()
        copied = page.evaluate("document.getSelection().toString()")
        button = query.locator("button").inner_text()
        assert button == "Copied" or copied.strip() == query.locator("code").inner_text().strip()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["index.html", "L0H0/index.html", "feature"])
def test_a_page_is_no_wider_than_the_window(chromium: Any, site: Path, name: str, width: int) -> None:
    path = a_feature(site) if name == "feature" else site / name
    with opened(chromium, viewport={"width": width, "height": 800}) as page:
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def contrast(page: Any, selector: str) -> float:
    """The contrast of a text with the page, as WCAG defines it."""
    colours = page.evaluate(
        "selector => [getComputedStyle(document.querySelector(selector)).color,"
        " getComputedStyle(document.body).backgroundColor]",
        selector,
    )
    light = []
    for colour in colours:
        parts = [int(part) / 255 for part in colour[4:-1].split(",")]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        light.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)
    return max(light) / min(light)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_by_day_and_by_night(chromium: Any, site: Path, scheme: str) -> None:
    with opened(chromium, color_scheme=scheme) as page:
        page.goto(a_feature(site).as_uri())
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(int(part) for part in background[4:-1].split(",")) < 200) == (scheme == "dark")
        for selector in (".lead", ".note", ".facts", "main a", "summary"):
            assert contrast(page, selector) >= 4.5, selector


def test_a_click_on_a_token_shows_what_it_attends_to(chromium: Any, small: Path) -> None:
    with Warehouse.open(small, writable=True) as warehouse:
        store(warehouse, (0, 0, 0), 1, "['Paris'] at -1")
    with Warehouse.open(small) as warehouse, served(warehouse) as running:
        with opened(chromium) as page:
            page.goto(f"http://127.0.0.1:{running.port}/explain")
            page.get_by_label("Text").fill("Paris speaks")
            page.get_by_label("run the model").check()
            page.get_by_role("button", name="Explain").click()
            page.get_by_role("link", name="'speaks'").click()
            assert "attends to, by L0H0" in page.locator("#why h2").inner_text()
            assert page.locator("#why svg .arc").count() >= 1
            assert "'Paris'" in page.locator("#why h3").first.inner_text()
        running.shutdown()


def test_a_search_and_sql_are_answered(chromium: Any, site: Path, small_once: Path) -> None:
    number = a_feature(site).stem
    with Warehouse.open(small_once) as warehouse, served(warehouse) as running:
        with opened(chromium) as page:
            page.goto(f"http://127.0.0.1:{running.port}/")
            page.get_by_role("searchbox", name="Find").fill(f"L0H0.{number}")
            page.keyboard.press("Enter")
            page.wait_for_url(f"**/L0H0/{number}")
            page.locator("details.query summary").first.click()
            page.get_by_role("link", name="Run").first.click()
            assert page.locator("table tbody tr").count() > 0
            page.get_by_label("One statement that reads").fill("DELETE FROM tokens")
            page.get_by_role("button", name="Run").click()
            assert "DELETE is refused" in page.get_by_role("alert").inner_text()
        running.shutdown()
