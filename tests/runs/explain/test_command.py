"""``lightune explain`` on a trained run: the words that decide a label come out on top."""

import random
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import WORDS, review
from omegaconf import OmegaConf

from lightune.commands import cli
from lightune.runs.explain import explain, fragment, page
from lightune.runs.load_run import rebuild


@pytest.fixture(scope="module")
def trained(finished_run: Path):
    _, task, preprocessor = rebuild(finished_run)
    return task, preprocessor


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit):
        cli.main([str(argument) for argument in arguments])
    message = capsys.readouterr().err
    assert len(message.splitlines()) <= 5
    return message


def test_the_words_that_decide_come_out_on_top(trained):
    rng = random.Random(1)
    for label in ["positive", "negative"] * 5:
        text = review(label, rng)
        (found,) = explain(*trained, [text])
        assert found.label == label
        assert {word.text for word in found.strongest(count=2)} == {w for w in text.split() if w in WORDS[label]}
        assert all(word.score > 0 for word in found.strongest(count=2))


def test_without_them_the_probability_falls_more_than_without_others(trained):
    task, preprocessor = trained
    rng = random.Random(2)
    by_top, by_chance = [], []
    for label in ["positive", "negative"] * 5:
        (found,) = explain(task, preprocessor, [review(label, rng)])
        top = {id(word) for word in found.strongest(count=2)}
        for gone, falls in ((top, by_top), ({id(word) for word in rng.sample(found.words, 2)}, by_chance)):
            left = " ".join(word.text for word in found.words if id(word) not in gone)
            (after,) = explain(task, preprocessor, [left or "the"], target=found.label)
            falls.append(found.probability - after.probability)
    assert sum(by_top) / len(by_top) > sum(by_chance) / len(by_chance) + 0.1


def test_text_and_scores_are_printed(finished_run: Path, capsys: pytest.CaptureFixture[str]):
    cli.main(["explain", str(finished_run), "--text", "the superb film", "--text", "[bold]a dire plot[/bold]"])
    printed = capsys.readouterr().out
    assert "\nthe superb film\nfor:     superb +" in printed
    assert "[bold]a dire plot[/bold]" in printed
    assert "(50 steps, delta" in printed
    assert "\x1b" not in printed  # colours are for terminals


def test_another_label_is_explained_when_asked(finished_run: Path, capsys: pytest.CaptureFixture[str]):
    cli.main(["explain", str(finished_run), "--text", "the superb film", "--target", "negative"])
    printed = capsys.readouterr().out
    assert printed.startswith("negative 0.0")
    assert "against: superb -" in printed
    assert "no such label. Did you mean 'negative'" in refused(
        capsys, "explain", finished_run, "--text", "x", "--target", "negativ"
    )


class Page(HTMLParser):
    """Note the tags and the words' titles of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.scores: dict[str, str] = {}
        self.title = ""

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        self.title = dict(attrs).get("title", "")

    def handle_data(self, data: str) -> None:
        if self.title:
            self.scores[data], self.title = self.title, ""


def test_a_page_holds_all_and_runs_nothing(finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "why.html"
    attack = 'superb <script>alert(1)</script> " onmouseover="x'
    cli.main(["explain", str(finished_run), "--text", attack, "--text", "a dire plot", "--out", str(out)])
    assert capsys.readouterr().out == f"{out}\n"
    html = out.read_text(encoding="utf-8")
    read = Page()
    read.feed(html)
    assert "script" not in read.tags
    assert html.count('class="explanation"') == 2
    assert not any(way in html for way in ("http:", "https:", "src=", "url("))  # self-contained
    assert float(read.scores["superb"]) > 0
    assert float(read.scores["dire"]) > 0
    assert not list(tmp_path.glob(".*"))


def test_a_fragment_tells_for_and_against_without_colour(trained):
    (found,) = explain(*trained, ["a superb and awful film"])
    weak = min(("superb", "awful"), key=lambda name: next(w.score for w in found.words if w.text == name))
    html = fragment(found)
    assert f">{weak}</span>" in html
    before = html[: html.index(f">{weak}</span>")].rpartition("<span")[2]
    assert "against" in before and 'title="-' in before
    assert found.label in html and html in page([found], title="<T>")
    assert "&lt;T&gt;" in page([found], title="<T>")


def test_tasks_without_one_answer_are_refused_at_once(finished_run: Path, tmp_path: Path, capsys):
    run = tmp_path / "run"
    shutil.copytree(finished_run / ".hydra", run / ".hydra")
    cfg = OmegaConf.load(run / ".hydra" / "config.yaml")
    cfg.task_name, cfg.task = "dialogue", {"_target_": "lightune.tasks.CausalLM"}
    OmegaConf.save(cfg, run / ".hydra" / "config.yaml")
    message = refused(capsys, "explain", run, "--text", "x")
    assert "run of dialogue" in message
    assert "works for text classification, token classification, question answering" in message


def test_a_folder_that_is_not_there_is_told_before_anything_is_loaded(finished_run: Path, tmp_path: Path, capsys):
    message = refused(capsys, "explain", finished_run, "--text", "x", "--out", tmp_path / "no" / "why.html")
    assert "there is no folder" in message
