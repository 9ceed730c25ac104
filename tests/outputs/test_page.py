"""What a page holds: its text as text, and nothing from elsewhere."""

import html.parser
import math
import re

import pytest

from stemseg_jax.outputs import page
from stemseg_jax.outputs.film import Film
from stemseg_jax.outputs.lanes import Lane, Span
from stemseg_jax.outputs.plots import Plot

HOSTILE = "<b onclick='x'>&amp;\"</script><script>alert(1)</script>"


class Read(html.parser.HTMLParser):
    """Tags with their attributes, and text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data.strip())


def page_of(word):
    lane = Lane(1, word, "#112233", 0.5, 3, (Span(0, 2, 0.0, 1.0),), (0.5, 1.0))
    video = page.Video(
        name=word,
        anchor="video-1",
        film=Film(b"film", b"poster", 2, 4),
        groups=[page.Group(word, [lane], word)],
        figures={word: 0.5},
        faults=[word],
        notes=[word],
    )
    table = page.Table(
        word, [{word: word, "n": 1}], word, {word: word}, {word: "video-1"}, word
    )
    plot = Plot(word, "M0 0L1 1", ((1, 2.0), (3, 4.0)), 0.0, 4.0, True, 2)
    return page.Page(
        *(word, word, {word: word}, [table], [video], word, {word: [plot]}, word),
        *({word: word}, word, {word: word}),
    )


@pytest.fixture(scope="module")
def hostile():
    return Read(page.render(page_of(HOSTILE)))


@pytest.fixture(scope="module")
def plain():
    return Read(page.render(page_of("word")))


def test_all_text_is_text(hostile, plain):
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]
    assert [sorted(own) for _, own in hostile.tags] == [
        sorted(own) for _, own in plain.tags
    ]
    words = [text.count("word") for text in plain.texts]
    assert [text.count(HOSTILE) for text in hostile.texts[: len(words)]] == words
    titles = [own["title"] for _, own in hostile.tags if "title" in own]
    assert titles == [f"1 {HOSTILE}, score 0.500, frames 0 to 2"]


def test_nothing_is_fetched(hostile):
    for tag, own in hostile.tags:
        for name in ("src", "href", "poster", "data", "action"):
            assert re.match(r"#|data:", own.get(name, "#")), (tag, own)
    assert not {"link", "iframe", "object", "embed"} & {tag for tag, _ in hostile.tags}
    (policy,) = (own for _, own in hostile.tags if "http-equiv" in own)
    assert policy["content"].startswith("default-src 'none'")
    text = page.render(page_of("word"))
    assert not re.search(r"https?://|@import|url\(", text)


def test_it_says_what_made_it_at_its_head():
    head = page.render(page_of("word"))[:1000]
    assert '<meta name="generator" content="stemseg_jax">' in head


def test_films_are_in_it(plain):
    (video,) = (own for tag, own in plain.tags if tag == "video")
    assert video["src"] == "data:video/mp4;base64,ZmlsbQ=="
    assert video["poster"] == "data:image/jpeg;base64,cG9zdGVy"


def test_the_column_that_rows_come_sorted_by_is_marked(plain):
    heads = [own for tag, own in plain.tags if tag == "th" and "aria-sort" in own]
    assert [own["aria-sort"] for own in heads] == ["ascending", "none"]
    columns = page.Table("t", [{"a": 1}, {"b": 2, "a": 3}]).columns
    assert columns == ["a", "b"]


def test_an_empty_page():
    empty = page.Page("t", "k", {}, [], [], "", {}, "", {}, "s", {})
    assert not [tag for tag, _ in Read(page.render(empty)).tags if tag == "section"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "–"),
        (math.nan, "–"),
        (3, "3"),
        ("a", "a"),
        (0.0, "0.000"),
        (0.12345, "0.123"),
        (-0.5, "-0.500"),
        (0.0001234, "1.23e-04"),
        (1234567.0, "1.23e+06"),
    ],
)
def test_values_as_tables_have_them(value, expected):
    assert page.shown(value) == expected
