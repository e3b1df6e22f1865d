"""Pages come from one base template, and what is filled in is escaped."""

from pathlib import Path

import pytest
from jinja2 import UndefinedError

import lightune
from lightune.common.html_pages import render


def test_values_are_escaped_and_a_missing_one_is_an_error():
    page = render("runs/explain/page.html", title="<T>", legend="a & b", explanations=["<b>"])
    assert "<title>&lt;T&gt;</title>" in page
    assert "a &amp; b" in page and "&lt;b&gt;" in page
    with pytest.raises(UndefinedError, match="legend"):
        render("runs/explain/page.html", title="T", explanations=[])


def test_only_the_base_template_has_a_head():
    templates = {path: path.read_text(encoding="utf-8") for path in Path(lightune.__file__).parent.rglob("*.html")}
    assert [path.name for path, text in templates.items() if "<head" in text] == ["base.html"]
