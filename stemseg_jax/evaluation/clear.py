"""CLEAR MOT on masks: hits, misses, false alarms, and changes of identity.

Two official programs count differently where an IoU is exactly 1/2, in what is a
fragment, and in sequences without objects: mots_tools, which defines the figures of
KITTI MOTS and MOTSChallenge, and TrackEval, which its successors use. Both are here.

Each sequence gives counts; the figures follow from their sums over sequences.

Source: VisualComputingInstitute/mots_tools; JonathonLuiten/TrackEval, `CLEAR`.
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from stemseg_jax.evaluation import pairing as pairing_lib
from stemseg_jax.evaluation.pairing import Pairing

Counts = dict[str, Any]


def count_mots(pairing: Pairing, num_frames: int) -> Counts:
    """The counts of mots_tools: a hit is a pair of IoU above 1/2.

    Masks of a frame do not overlap, so that no mask is in two such pairs.

    Args:
        num_frames: Frames to average over.
    """
    hits = pairing.pairs(pairing.iou > 0.5)
    matched = np.zeros(len(pairing.predicted.frames), bool)
    matched[hits.columns] = True
    num_truth, num_predicted = len(pairing.truth.frames), len(matched)
    ignored = int((~matched & (pairing.ignored_share > 0.5)).sum())

    partner = np.full(num_truth, -1)
    partner[hits.rows] = pairing.predicted.tracks[hits.columns]
    order = np.argsort(pairing.truth.tracks, kind="stable")
    num_tracks = pairing.truth.num_tracks
    tracks = np.split(
        partner[order],
        np.searchsorted(pairing.truth.tracks[order], np.arange(1, num_tracks)),
    )[:num_tracks]
    tracked = [float((track >= 0).mean()) for track in tracks]
    mostly = sum(share > 0.8 for share in tracked)
    lost = sum(share < 0.2 for share in tracked)

    in_frame = np.bincount(hits.frames, minlength=num_frames)
    iou_in_frame = np.bincount(hits.frames, hits.iou, minlength=num_frames)
    precision = np.where(in_frame > 0, iou_in_frame / np.maximum(in_frame, 1), 1.0)
    return {
        "tp": len(hits.rows),
        "fp": num_predicted - len(hits.rows) - ignored,
        "fn": num_truth - len(hits.rows),
        "n_gt": num_truth,
        "n_tr": num_predicted,
        "n_itr": ignored,
        "n_gt_trajectories": num_tracks,
        "n_tr_trajectories": pairing.predicted.num_tracks,
        "total_cost": float(hits.iou.sum()),
        "total_num_frames": num_frames,
        "id_switches": sum(map(switches, tracks)),
        "fragments": sum(map(_fragments, tracks)),
        "MT": mostly,
        "PT": len(tracked) - mostly - lost,
        "ML": lost,
        # A frame without a hit counts as perfect.
        "MODSP": float(precision.sum()),
    }


def mots_figures(counts: Counts) -> Counts:
    """What mots_tools reports; infinite where there is nothing to divide by."""
    tp, fp, fn, objects = (counts[key] for key in ("tp", "fp", "fn", "n_gt"))
    switches, overlap = counts["id_switches"], counts["total_cost"]
    trajectories = max(counts["n_gt_trajectories"], 1)
    anything = tp + fp > 0 and tp + fn > 0
    recall = tp / (tp + fn) if anything else 0.0
    precision = tp / (tp + fp) if anything else 0.0
    both = recall + precision

    def of_objects(errors):
        return 1 - errors / objects if objects else -math.inf

    return {
        **counts,
        "recall": recall,
        "precision": precision,
        "F1": 2 * precision * recall / both if both else 0.0,
        "FAR": fp / counts["total_num_frames"],
        "MOTSA": of_objects(fn + fp + switches),
        "MODSA": of_objects(fn + fp),
        "MOTSAL": of_objects(fn + fp + (math.log10(switches) if switches else 0)),
        "sMOTSA": (overlap - fp - switches) / objects if objects else -math.inf,
        "MOTSP": overlap / tp if tp else math.inf,
        "MODSP": counts["MODSP"] / counts["total_num_frames"],
        **{key: counts[key] / trajectories for key in ("MT", "PT", "ML")},
    }


def count_clear(pairing: Pairing) -> Counts:
    """The counts of TrackEval, from a pairing without ignored predictions.

    A hit has an IoU of at least 1/2; where masks compete, partners of the frame before
    stay together. Without objects or without predictions only misses and false alarms
    are counted, and no frames.
    """
    num_truth, num_predicted = len(pairing.truth.frames), len(pairing.predicted.frames)
    counts = dict.fromkeys(
        ("CLR_TP", "CLR_FN", "CLR_FP", "IDSW", "MT", "PT", "ML", "Frag", "CLR_Frames"),
        0,
    ) | {"MOTP_sum": 0.0}
    if not num_truth or not num_predicted:
        lost = pairing.truth.num_tracks
        return counts | {"CLR_FN": num_truth, "CLR_FP": num_predicted, "ML": lost}

    close = pairing.reaching(0.5)
    # Frames without any object or any prediction interrupt nothing.
    present = np.intersect1d(pairing.truth.frames, pairing.predicted.frames)
    hits = close.pairs(_stay_together(close, present))
    objects = pairing.truth.tracks[hits.rows]
    partners = pairing.predicted.tracks[hits.columns]
    moments = np.searchsorted(present, hits.frames)

    order = np.lexsort((moments, objects))
    goes_on = np.diff(objects[order]) == 0  # the same object as in the entry before
    switches = goes_on & (np.diff(partners[order]) != 0)
    interruptions = goes_on & (np.diff(moments[order]) > 1)
    lengths = np.bincount(pairing.truth.tracks)
    tracked = np.bincount(objects, minlength=len(lengths)) / lengths
    mostly, partly = int((tracked > 0.8).sum()), int((tracked >= 0.2).sum())
    return counts | {
        "CLR_TP": len(hits.rows),
        "CLR_FN": num_truth - len(hits.rows),
        "CLR_FP": num_predicted - len(hits.rows),
        "IDSW": int(switches.sum()),
        "MT": mostly,
        "PT": partly - mostly,
        "ML": len(lengths) - partly,
        "Frag": int(interruptions.sum()),
        "CLR_Frames": pairing.num_frames,
        "MOTP_sum": float(hits.iou.sum()),
    }


def clear_figures(counts: Counts) -> Counts:
    """What TrackEval reports over sequences; 0 where there is nothing to divide by."""
    tp, fp, fn = counts["CLR_TP"], counts["CLR_FP"], counts["CLR_FN"]
    switches, overlap = counts["IDSW"], counts["MOTP_sum"]
    objects = max(tp + fn, 1)
    trajectories = max(counts["MT"] + counts["PT"] + counts["ML"], 1)
    logarithm = math.log10(switches) if switches else 0
    return {
        **counts,
        "MOTA": (tp - fp - switches) / objects,
        "MODA": (tp - fp) / objects,
        "MOTAL": (tp - fp - logarithm) / objects,
        "sMOTA": (overlap - fp - switches) / objects,
        "MOTP": overlap / max(tp, 1),
        "CLR_Re": tp / objects,
        "CLR_Pr": tp / max(tp + fp, 1),
        "CLR_F1": tp / max(tp + fn / 2 + fp / 2, 1),
        "FP_per_frame": fp / max(counts["CLR_Frames"], 1),
        **{f"{key}R": counts[key] / trajectories for key in ("MT", "PT", "ML")},
    }


def clear_figures_of_sequence(counts: Counts) -> Counts:
    """As `clear_figures`; all 0, but for MLR, in a sequence that was not evaluated."""
    if counts["CLR_Frames"]:
        return clear_figures(counts)
    return dict.fromkeys(clear_figures(counts), 0) | counts | {"MLR": 1.0}


def switches(partners: Int[np.ndarray, "frames"]) -> int:
    """Changes from the last known partner, however long ago."""
    known = partners[partners >= 0]
    return int((np.diff(known) != 0).sum())


def _fragments(partners: Int[np.ndarray, "frames"]) -> int:
    """Frames with a partner that differs from the frame before, provided that there
    was one earlier and is one in the next frame; in the last frame always.
    """
    now = partners >= 0
    changed = np.diff(partners, prepend=partners[:1]) != 0
    known = np.cumsum(now) - now > 0
    goes_on = np.append(now[1:], True)
    inside = np.arange(len(partners)) < len(partners) - 1
    return int((now & changed & (known & goes_on | ~inside)).sum())


def _stay_together(
    close: Pairing, present: Int[np.ndarray, "moments"]
) -> Bool[np.ndarray, "pairs"]:
    """Which pairs match: first those of the moment before, then the best IoU."""
    chosen = np.ones(len(close.rows), bool)
    objects = close.truth.tracks[close.rows]
    partners = close.predicted.tracks[close.columns]
    for frame in pairing_lib.contested(close).tolist():
        moment = np.searchsorted(present, frame)
        before = chosen & (close.frames == present[moment - 1]) & (moment > 0)
        partner = np.full(close.truth.num_tracks, -1)
        partner[objects[before]] = partners[before]
        scores = close.iou + 1000 * (partner[objects] == partners)
        own, chosen_here = pairing_lib.assign_frame(close, scores, frame)
        chosen[own] = chosen_here
    return chosen
