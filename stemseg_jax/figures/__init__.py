"""The paper's ideas as Matplotlib figures, drawn by the package's own functions.

ideas      figures of functions alone, without a network
clips      what a trained network makes of a built-in video: the volume, the Gaussians
maps       each output of the network as a map over frames
grouping   clustering seed by seed, and stitching of two windows
training   the curves of a run, while it trains

Functions that draw give a figure. With `matplotlib.rcParams.update(figures.STYLE)`
before them it looks as on the site; a notebook shows it after `%matplotlib inline`.
"""

import importlib.util

if importlib.util.find_spec("matplotlib") is None:
    raise ImportError(
        "Figures need Matplotlib: run  pip install 'stemseg_jax[notebooks]'"
    )

STYLE = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "figure.dpi": 100,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "stemseg_jax",  # the same figure is the same file
}
