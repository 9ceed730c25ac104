"""The curves of a run, drawn anew below the cell of a notebook while it trains."""

import contextlib
import math
import os
import pathlib
import threading
from collections.abc import Iterator

from absl import logging
from matplotlib import figure

from stemseg_jax.outputs import plots
from stemseg_jax.report import run_folder, run_page, score_tables

GROUPS = ("Loss", "Optimisation", "Validation")  # of `run_page.CURVES`
GRADIENT = "gradient_norm"
COLUMNS = 4


@contextlib.contextmanager
def watched(workdir: str | os.PathLike, *, every: float = 3.0) -> Iterator[None]:
    """Shows the curves of the run in `workdir` while the body trains it.

        with training.watched(workdir):
            train.run(config, workdir)

    A drawing that fails is told once, as a warning, and the run goes on. After an error
    of the run nothing is drawn any more; after an interruption it is.

    Args:
        every: Seconds from one drawing to the next.

    Raises:
        ImportError: There is no IPython, which the extra `notebooks` has.
        ValueError: This is no cell of a notebook, or the log is damaged already. The
            body has not begun.
    """
    from IPython import display

    folder, ended = pathlib.Path(workdir), threading.Event()
    shown = display.display(curves(folder), display_id=True)
    if shown is None:
        raise ValueError(
            "training.watched draws below a cell of a notebook, and this is none: "
            "train without it, and look at training.curves(workdir) or --mode=report."
        )
    told = failed = False

    def redraw():
        nonlocal told
        try:
            shown.update(curves(folder))
        except Exception as error:  # no drawing is worth a run
            if not told:
                logging.warning("The curves of %s are not drawn: %r", folder, error)
            told = True

    def watch():
        while not ended.wait(every):
            redraw()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    except Exception:
        failed = True
        raise
    finally:
        ended.set()
        watcher.join()
        if not failed:
            redraw()


def curves(workdir: str | os.PathLike) -> figure.Figure:
    """What the run has logged: the loss, its terms, its gradient, and validations.

    Raises:
        ValueError: The log is damaged.
    """
    series = plots.series(run_folder.log(pathlib.Path(workdir)))
    plotted = run_page.curves(series)
    validated = [plot.name for plot in plotted.get("Validation", ())]
    main = score_tables.main_name(dict.fromkeys(validated))
    drawn = [
        plot
        for group in GROUPS
        for plot in plotted.get(group, ())
        if "/" not in plot.name and (group == "Loss" or plot.name in (main, GRADIENT))
    ]
    rows = max(math.ceil(len(drawn) / COLUMNS), 1)
    fig = figure.Figure(figsize=(10, 1.7 * rows), layout="constrained")
    if not drawn:
        axis = fig.subplots()  # without one IPython shows nothing
        axis.text(0.5, 0.5, "no update is logged yet", ha="center", va="center")
        axis.axis("off")
        return fig
    axes = fig.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axis, plot in zip(axes, drawn, strict=False):
        marker = "." if len(plot.points) == 1 else ""
        axis.plot(*zip(*plot.points, strict=True), linewidth=1.2, marker=marker)
        axis.set_title(plot.name, fontsize=9)
        axis.set_yscale("log" if plot.logarithmic else "linear")
        axis.tick_params(labelsize=7)
        axis.tick_params(which="minor", labelleft=False)
    for axis in axes[len(drawn) :]:
        axis.axis("off")
    return fig
