"""The pages in a real browser: they say nothing, fetch nothing, play, sort and seek."""

import shutil
import time

import pytest

from stemseg_jax import report
from tests.report import folders

BROWSERS = ("google-chrome", "chrome", "chromium", "chromium-browser")
PLAYS = """document.createElement("video").canPlayType(
  'video/mp4; codecs="avc1.640028"')"""  # empty: no
VIDEOS = "[...document.querySelectorAll('video')]"
HOSTILE = "<img src=x onerror=alert(1)> & \"b\" 'c' {{ 7 * 7 }}"


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright")
    found = [path for path in map(shutil.which, BROWSERS) if path]
    if not found:
        pytest.skip("no browser to open pages in; on Debian: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found[0])
        if not opened.new_page().evaluate(PLAYS):
            opened.close()
            pytest.skip(f"{found[0]} cannot play H.264, which the films are in")
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def of_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "shapes"
    return report.run(str(folders.write_run(folder)))


@pytest.fixture(scope="module")
def of_predictions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predicted")
    folders.write_predicted(folder / HOSTILE)
    folders.write_predicted(folder / "clip", score=0.7)
    return report.run(str(folder))


@pytest.fixture
def opened(browser):
    """Opens pages without a network; what they say or ask for fails the test."""
    contexts, heard = [], []

    def open_page(path, **options):
        contexts.append(browser.new_context(offline=True, **options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("dialog", lambda dialog: heard.append(dialog.message))
        page.on("request", lambda request: heard.append(request.url))
        page.goto(path.as_uri())
        until(page, f"{VIDEOS}.every(video => video.readyState > 0)")
        return page

    yield open_page
    for context in contexts:
        context.close()
    own = ("file://", "data:", "blob:")
    assert [said for said in heard if not said.startswith(own)] == []
    assert sum(said.startswith("file://") for said in heard) == len(contexts)


def until(page, condition):
    """Playwright's own way needs `eval`, which the page forbids."""
    end = time.monotonic() + 10
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(20)


def names_in(page):
    return page.locator("tbody tr > th").all_inner_texts()[:3]


def test_videos_play(opened, of_run):
    page = opened(of_run)
    durations = page.evaluate(f"{VIDEOS}.map(video => video.duration)")
    assert durations == pytest.approx([2.5] * 3, abs=0.01)  # five frames, two a second
    video = page.locator("video").first
    assert video.evaluate("video => video.src").startswith("blob:")
    video.evaluate("video => video.play()")
    until(page, f"{VIDEOS}[0].currentTime > 0.1")
    assert video.evaluate("v => [v.videoWidth > 0, v.error]") == [True, None]


def test_a_click_on_a_head_sorts_and_another_one_turns_round(opened, of_run):
    page = opened(of_run)
    names = [f"val_00000{k}" for k in (2, 1, 0)]
    heads = page.locator("thead th")

    def marked():
        marks = [heads.nth(k).get_attribute("aria-sort") for k in range(heads.count())]
        return {k: mark for k, mark in enumerate(marks) if mark != "none"}

    assert (names_in(page), marked()) == (names, {1: "ascending"})
    heads.nth(1).locator("button").click()
    assert (names_in(page), marked()) == (names[::-1], {1: "descending"})
    heads.nth(0).locator("button").press("Enter")
    assert (names_in(page), marked()) == (names[::-1], {0: "ascending"})
    page.locator("tbody a").first.click()
    assert page.url.endswith("#video-3")


def test_what_has_no_value_stays_at_the_end(opened, of_predictions):
    page = opened(of_predictions)
    page.evaluate("""() => {
      const cell = document.querySelector("tbody tr").cells[3];
      cell.textContent = "–";
      delete cell.dataset.value;
    }""")
    unknown = names_in(page)[0]
    for _ in range(2):
        page.locator("thead button").nth(3).click()
        assert names_in(page)[1] == unknown


def test_a_click_on_a_time_line_goes_there(opened, of_predictions):
    page = opened(of_predictions)
    bar = page.locator(".bar").first
    bar.click(position={"x": 0.75 * bar.bounding_box()["width"], "y": 5})
    until(page, f"!{VIDEOS}[0].seeking")
    assert page.evaluate(f"{VIDEOS}[0].currentTime") == pytest.approx(1.5, abs=0.02)
    line = "document.querySelector('.timeline').style.getPropertyValue('--now')"
    assert float(page.evaluate(line)) == pytest.approx(0.75, abs=0.01)
    title = bar.locator("span").nth(1).get_attribute("title")
    assert title == "1 person & dog, score 0.700, frames 3 to 5"


def test_names_are_text(opened, of_predictions):
    page = opened(of_predictions)
    assert HOSTILE in page.locator("h3").all_inner_texts()
    assert page.evaluate("document.images.length") == 0


def test_options_are_looked_for(opened, of_run):
    page = opened(of_run)
    page.locator("summary").click()
    page.locator("details input").fill("NUM_frames")
    shown = page.locator("details tr:visible th").all_inner_texts()
    assert shown == ["num_frames", "evaluation.options.num_frames"]


def test_a_curve_says_what_is_under_the_pointer(opened, of_run):
    page = opened(of_run)
    plot = page.locator(".plot", has_text="lovasz")
    picture, said = plot.locator("svg"), plot.locator("output")
    assert said.inner_text() == "1"
    picture.hover(position={"x": 0.45 * picture.bounding_box()["width"], "y": 20})
    assert said.inner_text() == "2: 1.5"
    page.mouse.move(0, 0)
    assert said.inner_text() == "1"


def test_a_phone_shows_all_of_its_width(opened, of_run, of_predictions):
    for path in (of_run, of_predictions):
        page = opened(path, viewport={"width": 360, "height": 700}, is_mobile=True)
        assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_light_and_dark(opened, of_run):
    background = "getComputedStyle(document.body).backgroundColor"
    for scheme, paper in (("light", "rgb(247, 247, 245)"), ("dark", "rgb(19, 19, 23)")):
        page = opened(of_run, color_scheme=scheme)
        assert page.evaluate(background) == paper
