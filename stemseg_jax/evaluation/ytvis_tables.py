"""The figures of YouTube-VIS and OVIS, for people and for files."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

from stemseg_jax.evaluation import average_precision as ap
from stemseg_jax.evaluation.scored import Figures

OCCLUSIONS = {"light_occ": (0, 0.25), "medium_occ": (0.25, 0.5), "heavy_occ": (0.5, 1)}


def figures(
    rankings: Mapping[int, ap.Ranking], weights: Int[np.ndarray, "videos"] | None = None
) -> Figures:
    """The figures that papers print, means over categories; -1 without any object.

    Args:
        weights: How often each video counts; once, if not given.
    """
    sizes = slice(1)  # all
    areas = [
        ap.average_precision(ranking, ap.MAX_PREDICTIONS[-1], sizes, weights)[0]
        for ranking in rankings.values()
    ]
    recalls = {
        f"AR{most}": _mean(
            [
                ap.final_recall(ranking, most, sizes, weights)
                for ranking in rankings.values()
            ]
        )
        for most in ap.MAX_PREDICTIONS
    }
    return {
        "AP": _mean(areas),
        "AP50": _mean([area[0] for area in areas]),
        "AP75": _mean([area[5] for area in areas]),
        **recalls,
    }


def figures_by_range(rankings: Mapping[int, ap.Ranking]) -> Figures:
    """AP and AR with 100 predictions, by size and, if scored, by occlusion."""
    most = ap.MAX_PREDICTIONS[-1]
    areas = [ap.average_precision(ranking, most) for ranking in rankings.values()]
    recalls = [ap.final_recall(ranking, most) for ranking in rankings.values()]
    scored = {}
    for which, name in enumerate(_ranges(rankings)):
        if name != "all":
            scored[f"AP_{name}"] = _mean([area[which] for area in areas])
            scored[f"AR_{name}"] = _mean([recall[which] for recall in recalls])
    return scored


def table(
    rankings: Mapping[int, ap.Ranking], categories: Mapping[int, str]
) -> list[tuple[str, Figures]]:
    """The figures of each category that has objects, then of all."""
    rows = [
        (categories[category], figures({category: ranking}))
        for category, ranking in rankings.items()
        if ranking.counted[:, 0].any()
    ]
    by_range = figures_by_range(rankings)
    whole = [
        ("all categories", figures(rankings)),
        *(
            (
                f"all, {name}",
                {kind: by_range[f"{kind}_{name}"] for kind in ("AP", "AR")},
            )
            for name in _ranges(rankings)
            if name != "all"
        ),
    ]
    return [*rows, *whole]


def report(
    videos: Mapping[int, Mapping[int, ap.Matches]],
    rankings: Mapping[int, ap.Ranking],
    categories: Mapping[int, str],
    names: Mapping[int, str],
) -> dict:
    """All figures, those of each category under its id, and of each video by its name:
    the mean over the categories that it has objects of, as if there were no other.

    `precision` and `recall` are [threshold, category, range, number of predictions];
    `iou` holds a matrix [prediction, object] for "video/category".
    """
    nothing = np.full((len(_ranges(rankings)), len(ap.THRESHOLDS)), -1.0)

    def curves(measure):
        return np.array(
            [
                [
                    measure(rankings[category], most)
                    if category in rankings
                    else nothing
                    for most in ap.MAX_PREDICTIONS
                ]
                for category in sorted(categories)
            ]
        ).transpose(3, 0, 2, 1)  # [K M R T] -> [T K R M]

    per_category = {
        str(category): {
            "name": name,
            **figures({category: rankings[category]} if category in rankings else {}),
        }
        for category, name in sorted(categories.items())
    }
    return {
        **figures(rankings),
        **figures_by_range(rankings),
        "per_category": per_category,
        "per_video": {
            names[video]: {"video_id": video, **figures(ap.rank([matches]))}
            for video, matches in videos.items()
        },
        "precision": curves(ap.average_precision).tolist(),
        "recall": curves(ap.final_recall).tolist(),
        "iou": {
            f"{video}/{category}": match.iou.tolist()
            for video, categories_of_it in videos.items()
            for category, match in categories_of_it.items()
        },
    }


def _ranges(rankings: Mapping[int, ap.Ranking]) -> list[str]:
    scored = max((r.counted.shape[1] for r in rankings.values()), default=len(ap.AREAS))
    return [*ap.AREAS, *OCCLUSIONS][:scored]


def _mean(values) -> float:
    """Over what is not -1; -1 if that is nothing."""
    values = np.array(values)
    values = values[values > -1]
    return float(values.mean()) if values.size else -1.0
