"""Two results on the same videos: is the difference more than the choice of videos?"""

from typing import NamedTuple

import numpy as np

from stemseg_jax.evaluation.scored import Progress, Scored


class Difference(NamedTuple):
    """One figure of two results."""

    first: float
    second: float
    difference: float  # second less first
    low: float  # interval of the difference
    high: float


def compare(
    first: Scored,
    second: Scored,
    *,
    samples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    progress: Progress = iter,
) -> dict[str, Difference]:
    """Each figure that both results have, their difference, and its bootstrap interval.

    As many videos as there are are drawn with replacement, the same for both results,
    and both are scored on them; the interval holds the middle `confidence` of the
    differences over all draws. It says how far the difference depends on which videos
    were annotated, and nothing of another training run. Draws in which a figure does
    not exist do not count for it.

    Raises:
        ValueError: The results were scored on different videos.

    Source: percentile bootstrap, Efron and Tibshirani (1993), Sec. 13.3.
    """
    if first.videos != second.videos:
        only = sorted({*first.videos} ^ {*second.videos})
        raise ValueError(f"the results are of different videos: {', '.join(only)}")
    rng = np.random.default_rng(seed)
    count = len(first.videos)
    one, other = first.figures(), second.figures()
    names = [name for name in one if name in other]
    draws = []
    for _ in progress(range(samples)):
        weights = rng.multinomial(count, np.full(count, 1 / count))
        drawn = first.figures(weights), second.figures(weights)
        draws.append([[figures[name] for name in names] for figures in drawn])
    with np.errstate(invalid="ignore"):  # infinity less infinity
        differences = np.diff(np.array(draws, float), axis=1)[:, 0]
    tail = (1 - confidence) / 2
    compared = {}
    for column, name in enumerate(names):
        exists = differences[np.isfinite(differences[:, column]), column]
        low, high = (
            np.quantile(exists, [tail, 1 - tail]) if len(exists) else [np.nan] * 2
        )
        values = (one[name], other[name], other[name] - one[name], low, high)
        compared[name] = Difference(*map(float, values))
    return compared
