"""STEm-Seg's loss of one clip, in plain NumPy: `loss` is held against it.

Athar et al. (ECCV 2020), Sec. 3.2, point by point; what the authors' program does
otherwise is in the branches of `released`.
"""

import numpy as np

from tests.systems.stemseg_reference import Maps


def terms(
    maps: Maps,
    masks: np.ndarray,
    categories: np.ndarray,
    ignore: np.ndarray,
    *,
    free_std: list[float],
    target: str,
    released: bool,
) -> dict[str, float]:
    """Each term by name, without its weight.

    Args:
        maps: [T h w ...] at stride 4.
        masks: [N T H W] of the clip's own instances, as many as it has.
        categories: Of each, from 1.
        ignore: [T H W].
        target: "and" sets a cell whose four central pixels are, "fraction" one that is
            covered by half or more.
    """
    inside = np.array([shrunk(mask, target) for mask in masks], bool)
    inside = inside.reshape(len(masks), *maps.seediness.shape)
    ignored = shrunk(ignore, target)
    if not released:  # a cell that is ignored in part is no background
        of_objects = np.any([np.zeros_like(ignored), *inside], axis=0)
        ignored = by_cell(ignore).any(axis=-1) & ~of_objects
    present = [mask for mask in inside if mask.any()]
    # The program compares the points of the n-th instance that has any with the mask of
    # the n-th instance, whether that has any or not.
    targets = list(inside[: len(present)]) if released else present
    hinges, deviations, errors = [], [], []
    for mask, compared in zip(present, targets, strict=True):
        raw = maps.log_bandwidths[mask]
        deviations.append(((raw - raw.mean(axis=0)) ** 2).mean())
        centre = maps.embeddings[mask].mean(axis=0)
        constant = [1 / std**2 for std in free_std]
        bandwidth = np.append(10 * np.exp(raw).mean(axis=0), constant)
        distance = (bandwidth * (maps.embeddings - centre) ** 2).sum(axis=-1)
        probability = np.exp(-distance / 2)
        if compared.any():
            hinges.append(lovasz_hinge(2 * probability - 1, compared))
            errors.append(((maps.seediness - probability)[mask] ** 2).mean())
    found = {
        "lovasz": sum(hinges) / max(len(present), 1),
        "smoothness": sum(deviations) / max(len(present), 1),
        "seediness": (
            sum(errors) + background(maps.seediness, present, ignored, released)
        )
        / (len(present) + 1),
    }
    if maps.class_logits is not None:
        classes = np.zeros(ignored.shape, int)
        for mask, category in zip(inside, categories, strict=True):
            classes[mask] = np.maximum(classes[mask], category)
        exp = np.exp(maps.class_logits)
        share = np.take_along_axis(exp, classes[..., None], -1)[..., 0] / exp.sum(-1)
        counted = ~ignored | released  # there, the ignored cells count too
        found["semantic"] = -np.log(share)[counted].mean()
        covered = masks.any(axis=0) if len(masks) else np.zeros_like(ignore)
        wanted = inside.any(axis=0) if target == "and" else by_cell(covered).mean(-1)
        share = 1 / (1 + np.exp(-maps.foreground_logits))
        entropy = -(wanted * np.log(share) + (1 - wanted) * np.log(1 - share))
        found["foreground"] = entropy[~ignored].mean()
    return found


def background(seediness, present, ignored, released):
    """Outside of all instances the seediness should be 0."""
    outside = ~np.any([np.zeros_like(ignored), *present], axis=0)
    squares = np.where(ignored, 0, seediness**2)[outside]
    if released:  # divides by the ignored cells too, and wants an instance
        return squares.mean() if present else 0.0
    return squares.sum() / max((outside & ~ignored).sum(), 1)


def lovasz_hinge(logits: np.ndarray, mask: np.ndarray) -> float:
    """The sum of the hinges, largest first, each by how much the IoU then falls."""
    hinges = np.where(mask, 1 - logits, 1 + logits).ravel()
    missed, wrong, before, total = 0, 0, 1.0, 0.0
    for point in np.argsort(-hinges):
        missed += mask.ravel()[point]
        wrong += not mask.ravel()[point]
        iou = (mask.sum() - missed) / (mask.sum() + wrong)
        total += max(hinges[point], 0) * (before - iou)
        before = iou
    return total


def shrunk(mask: np.ndarray, target: str) -> np.ndarray:
    """[T H W] to [T h w]."""
    if target == "fraction":
        return by_cell(mask).mean(axis=-1) >= 0.5
    return by_cell(mask)[..., [5, 6, 9, 10]].all(axis=-1)


def by_cell(mask: np.ndarray) -> np.ndarray:
    """The 16 pixels of each cell [T h w 16]."""
    T, H, W = mask.shape
    cells = mask.reshape(T, H // 4, 4, W // 4, 4).swapaxes(2, 3)
    return cells.reshape(T, H // 4, W // 4, 16)
