"""The documentation as a site: `make docs`, then docs/site/index.html."""

import pathlib
import re
import sys

from sphinx.ext import apidoc

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))  # the package documented is the one beside these pages

import stemseg_jax  # noqa: E402

project, copyright = "stemseg_jax", "the stemseg_jax authors"
release = stemseg_jax.__version__
html_title = f"{project} {release}"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["site"]

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
highlight_language = "none"  # of blocks that name none
myst_heading_anchors = 3

# ------------------------------------------------------------------------ what is where

# Pages that are files of the repository's root, which is where one looks for them.
ELSEWHERE = {
    "index": "README.md",
    "extending": "CONTRIBUTING.md",
    "changelog": "CHANGELOG.md",
}


def put_in(app, page, source):
    """The file a page stands for, before what the page has of its own."""
    if page not in ELSEWHERE:
        return
    path = ROOT / ELSEWHERE[page]
    app.env.note_dependency(str(path))
    text = path.read_text().replace("](docs/", "](").replace("](colab/", "](../colab/")
    for name, file in ELSEWHERE.items():
        text = text.replace(f"]({file})", f"]({name}.md)")
    source[0] = f"{text}\n{source[0]}"


# ------------------------------------------------------------------------------ the API

apidoc.main(
    [
        *("--force", "--no-toc", "--module-first", "--remove-old", "--maxdepth=1"),
        *("--templatedir", str(HERE / "templates"), "--output-dir", str(HERE / "api")),
        str(ROOT / "stemseg_jax"),
    ]
)
add_module_names = False
default_role = "py:obj"  # of `names` in docstrings: a link, if it is one of ours
python_maximum_signature_line_length = 60
autodoc_default_options = {
    "members": True,
    "undoc-members": True,
    "member-order": "bysource",
    "ignore-module-all": True,  # what a folder hands on is told where it is defined
}
autodoc_inherit_docstrings = False
autodoc_docstring_signature = False
napoleon_custom_sections = [("Attributes", "params_style")]  # told with their class
napoleon_use_rtype = False

AS_IT_STANDS = re.compile(r" {4}|[\w.]+ {2,}\S")  # the beginning of code or of a table


def as_markup(app, what, name, obj, options, lines):
    """Our docstrings are plain text; what would be markup in them is none."""
    if what == "class" and lines and lines[0].startswith(f"{obj.__name__}("):
        lines.clear()  # none was written: Python's own, which is the signature
    blocks = "\n".join(lines).split("\n\n")
    lines[:] = "\n\n".join(map(_as_markup, blocks)).split("\n")


def _as_markup(block):
    if AS_IT_STANDS.match(block):
        return "::\n\n" + re.sub("^", "    ", block, flags=re.MULTILINE)
    if block.startswith("Source:"):  # a field, as those that napoleon makes
        block = f":{' '.join(block.split())}"
    return re.sub(r"([*|\\])", r"\\\1", block)


def shorten(app, what, name, obj, options, signature, returns):
    """Float[Array, "T h w"] as it is written."""
    names = re.compile(r"jaxlib\.\w+\.(?=Array)")
    return tuple(part and names.sub("", part) for part in (signature, returns))


def is_left_out(app, what, name, obj, skip, options):
    """Fields, which the signature of their class has."""
    return skip or (what == "class" and not callable(obj) and not hasattr(obj, "fget"))


def setup(app):
    app.connect("source-read", put_in)
    app.connect("autodoc-process-docstring", as_markup, priority=400)  # then napoleon
    app.connect("autodoc-process-signature", shorten)
    app.connect("autodoc-skip-member", is_left_out)
