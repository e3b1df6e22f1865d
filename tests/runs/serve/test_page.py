"""The page, in a browser."""

import shutil
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("uvicorn")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium")


def test_a_typed_text_gets_its_label_and_words(finished_run: Path, serving):
    with serving(finished_run) as (_, address), playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        problems: list[str] = []
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(address)
        page.fill("#text", "the superb film <b>😀 with a dire plot")
        page.click("#go")
        page.wait_for_selector("#explanation .word")
        assert page.inner_text("#prediction .answer") in ("positive", "negative")
        assert page.locator("#prediction .bar").count() == 2
        words = {word.inner_text(): word for word in page.locator("#explanation .word").all()}
        assert {"superb", "film", "dire"} <= set(words)
        titles = [float(words[word].get_attribute("title")) for word in ("superb", "dire")]
        assert titles[0] * titles[1] < 0
        for word in ("superb", "dire"):
            colour = words[word].evaluate("e => getComputedStyle(e).backgroundColor")
            assert colour.startswith("rgba(") and not colour.endswith(" 0)")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.inner_text("#explanation .read") == "the superb film <b>😀 with a dire plot"
        assert not problems
        browser.close()
