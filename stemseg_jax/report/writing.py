"""Writes the page of a folder."""

import datetime
import os
import pathlib

from absl import logging
from ml_collections import ConfigDict

from stemseg_jax import __version__
from stemseg_jax.formats import files, whole
from stemseg_jax.outputs import page
from stemseg_jax.report import predicted_folder, predicted_page, run_folder, run_page

NAME = "report.html"
HEAD = 1000  # bytes of a page, in which it says what made it


def run(
    source: str,
    *,
    output: str | None = None,
    videos: int = 12,
    config: ConfigDict | None = None,
    command: str = "",
) -> pathlib.Path:
    """Writes the page, and says where.

    Args:
        source: A run's folder, or what --mode=predict wrote: of one video, or several.
        output: The file; by default `report.html` in the folder, or beside it where the
            folder is one that is replaced as a whole.
        videos: So many are shown, the worst first.
        config: Of the results, in place of the one that lies in the folder.
        command: That makes the page again.

    Raises:
        ValueError: There is neither, what lies there is damaged, or the file is there
            and no page of ours.
    """
    if videos < 0:
        raise ValueError(f"--videos={videos}: expected 0 or more.")
    folder = folder_of(source)
    path = pathlib.Path(output) if output else _beside(folder)
    refuse_foreign(path)
    if predicted := predicted_folder.find(folder):
        content = predicted_page.page_of(folder, predicted, most=videos)
    elif run_folder.holds_run(folder) or config is not None:
        content = run_page.page_of(folder, config, most=videos)
    else:
        raise ValueError(_neither(folder))
    now = f"{datetime.datetime.now():%-d %B %Y, %H:%M}"
    made = {
        "Made": f"{now} by stemseg_jax {__version__}",
        "From": str(folder.resolve()),
        "Made again by": command,
    }
    text = page.render(content._replace(made={k: v for k, v in made.items() if v}))
    with whole.file(path) as partial:
        # Names of files may hold what is no text.
        partial.write_text(text, "utf-8", errors="replace")
    if faulty := [video.name for video in content.videos if video.faults]:
        logging.warning("%d video(s) with a fault, see there: %s", len(faulty), faulty)
    print(f"{path} ({len(text) / 1e6:.2f} MB)")
    return path


def folder_of(source: str) -> pathlib.Path:
    """The folder a page is of, with a name even if it is given as `.` or `..`: of the
    predictions of a run, that of the run, which has the scores.

    Raises:
        ValueError: There is none.
    """
    folder = pathlib.Path(os.path.abspath(source))
    if not folder.exists():
        raise ValueError(f"{source}: no such folder. {_expected()}")
    if not folder.is_dir():
        around = folder.parent
        known = run_folder.holds_run(around) or predicted_folder.find(around)
        hint = f" Perhaps {around} is meant?" if known else ""
        raise ValueError(f"{source}: is a file. {_expected()}{hint}")
    own = folder.name == "predictions" and run_folder.holds_run(folder.parent)
    return folder.parent if own else folder


def refuse_foreign(path: pathlib.Path) -> None:
    """To be called before the work that ends in a page.

    Raises:
        ValueError: There is something at `path` that is none of our pages.
    """
    if not path.exists() and not path.is_symlink():
        return
    ours = f'<meta name="generator" content="{page.GENERATOR}">'.encode()
    if path.is_file() and not path.is_symlink():
        with path.open("rb") as stream:
            if ours in stream.read(HEAD):
                return
    raise ValueError(
        f"{path} is there already, and none of our reports; only these are replaced. "
        "Name another file by --output=FILE.html, or move it away."
    )


def _beside(folder: pathlib.Path) -> pathlib.Path:
    if (folder / whole.MARKER).exists():  # with the folder the page would go
        return folder.with_name(f"{folder.resolve().name}_{NAME}")
    return folder / NAME


def _neither(folder: pathlib.Path) -> str:
    held = [path.name for path in files.listed(folder)]
    listed = ", ".join(held[:4]) + " ..." * (len(held) > 4)
    return f"{folder}: holds {listed or 'nothing'}. {_expected()}"


def _expected() -> str:
    return (
        f"Expected a run's folder ({run_folder.CONFIG}, {run_folder.LOG}), or one that "
        f"--mode=predict wrote (a folder a video, with {predicted_folder.RECORD})."
    )
