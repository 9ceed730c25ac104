"""A page of HTML that holds all it shows: it needs no network and no other file."""

import base64
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jinja2
import markupsafe

from stemseg_jax.outputs.film import Film
from stemseg_jax.outputs.lanes import Lane
from stemseg_jax.outputs.plots import Plot

GENERATOR = "stemseg_jax"  # named in the head of the page

Value = str | float | int | None  # None: there is none


class Table(NamedTuple):
    """Rows, which the reader can sort by a click on a column's name.

    Attributes:
        rows: One mapping a row, one column a key, in order of appearance.
        sorted_by: The column by which the rows come sorted, lowest first.
        total: A row below all others, which is not sorted.
        anchors: Of names in the first column, where on the page there is more.
    """

    title: str
    rows: Sequence[Mapping[str, Value]]
    sorted_by: str = ""
    total: Mapping[str, Value] | None = None
    anchors: Mapping[str, str] = {}
    note: str = ""

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(key for row in self.rows for key in row))


class Group(NamedTuple):
    """Lanes of one kind, such as true objects."""

    title: str
    lanes: Sequence[Lane]
    note: str = ""


class Video(NamedTuple):
    """One video with what is known of it."""

    name: str
    anchor: str
    film: Film | None = None
    groups: Sequence[Group] = ()
    figures: Mapping[str, Value] = {}  # the main ones
    faults: Sequence[str] = ()
    notes: Sequence[str] = ()


class Page(NamedTuple):
    """What a page says, from top to bottom."""

    title: str
    kind: str  # what it is about, in a word or two
    facts: Mapping[str, Value]
    tables: Sequence[Table]
    videos: Sequence[Video]
    videos_note: str  # what was left out, and in which order they come
    plots: Mapping[str, Sequence[Plot]]  # by the name of their group
    plots_note: str
    settings: Mapping[str, str]  # option -> value
    settings_title: str
    made: Mapping[str, str]  # when, of what, by which command


def render(page: Page) -> str:
    """The page; all of its text is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("stemseg_jax.outputs", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"shown": shown, "brief": _brief, "base64": _base64}
    template = environment.get_template("page.html")
    return template.render(page=page, generator=GENERATOR)


def shown(value: Value, digits: int = 3) -> str:
    """Numbers as tables have them; nothing known is a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if not isinstance(value, float):
        return str(value)
    small = value and not 0.5 * 10**-digits <= abs(value) < 10**5
    return f"{value:.2e}" if small else f"{value:.{digits}f}"


def _brief(value: float) -> str:
    """A number at the end of an axis."""
    text = f"{value:.2g}" if abs(value) < 10 else f"{value:.0f}"
    return text.replace("e-0", "e-")


def _base64(data: bytes) -> markupsafe.Markup:
    """Nothing in it needs to be escaped, and there are megabytes of it."""
    return markupsafe.Markup(base64.b64encode(data).decode())
