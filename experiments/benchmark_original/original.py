"""The original PyTorch program as this experiment calls it; on a GPU where one is."""

import functools
import pathlib
import sys
import types
from unittest import mock

import numpy as np

# Imported by its modules for training data, and not needed here.
ABSENT = (
    *("imgaug", "imgaug.augmenters", "imgaug.augmentables"),
    "imgaug.augmentables.segmaps",
)
CONFIG = "davis_1.yaml"


def load(folder: pathlib.Path, *, size: tuple[int, int], threads: int):
    """Its classes, configured for DAVIS with ResNet-50 and frames of that size.

    Raises:
        SystemExit: It is not in that folder.
    """
    if not (folder / "stemseg" / "config" / CONFIG).exists():
        raise SystemExit(f"{folder} is no checkout of sabarim/STEm-Seg: no {CONFIG}.")
    import torch
    import yaml

    torch.set_num_threads(threads)
    # What has changed since: YAML asks for a loader, and not everybody has CUDA.
    yaml.load = functools.partial(yaml.load, Loader=yaml.SafeLoader)
    for name in ABSENT:
        sys.modules[name] = mock.MagicMock()
    if not torch.cuda.is_available():
        torch.Tensor.cuda = lambda self, *_, **__: self
        torch.nn.Module.cuda = lambda self, *_, **__: self
    sys.path.insert(0, str(folder))
    from stemseg.config import cfg
    from stemseg.inference.clusterers import SequentialClustering
    from stemseg.inference.main import TrackGenerator, get_subsequence_frames
    from stemseg.inference.online_chainer import OnlineChainer
    from stemseg.inference.output_utils import DavisOutputGenerator
    from stemseg.modeling.inference_model import InferenceModel
    from stemseg.modeling.losses._lovasz import LovaszHingeLoss
    from stemseg.structures import ImageList

    cfg.merge_from_file(str(folder / "stemseg" / "config" / CONFIG))
    cfg.MODEL.BACKBONE.update_param("TYPE", "R-50-FPN")
    cfg.INPUT.update_param("MIN_DIM", min(size))
    cfg.INPUT.update_param("MAX_DIM", max(size))
    return types.SimpleNamespace(
        cfg=cfg,
        torch=torch,
        device="cuda:0" if torch.cuda.is_available() else "cpu",
        SequentialClustering=SequentialClustering,
        TrackGenerator=TrackGenerator,
        get_subsequence_frames=get_subsequence_frames,
        OnlineChainer=OnlineChainer,
        DavisOutputGenerator=DavisOutputGenerator,
        InferenceModel=InferenceModel,
        LovaszHingeLoss=LovaszHingeLoss,
        ImageList=ImageList,
    )


def inference_model(original):
    """With the weights that the program starts from without a checkpoint."""
    model = original.InferenceModel(None, cpu_workers=0, preload_images=True)
    # It reads files; here frames are given.
    model.load_images = lambda frames: frames
    return model.cuda()


def clusterer(original):
    clustering = original.cfg.CLUSTERING
    return original.SequentialClustering(
        primary_prob_thresh=clustering.PRIMARY_PROB_THRESHOLD,
        secondary_prob_thresh=clustering.SECONDARY_PROB_THRESHOLD,
        min_seediness_prob=clustering.MIN_SEEDINESS_PROB,
        n_free_dims=2,
        free_dim_stds=original.cfg.TRAINING.LOSSES.EMBEDDING.FREE_DIM_STDS,
        device=original.device,
    )


def masks(original, model, frames, folder: pathlib.Path, *, levels) -> pathlib.Path:
    """From RGB frames to the folder of PNGs, in the order of its main program.

    Args:
        levels: The seediness of the foreground, and the least of a seed.
    """
    threshold, least = levels
    original.cfg.CLUSTERING.update_param("MIN_SEEDINESS_PROB", least)
    frames = [np.ascontiguousarray(frame[..., ::-1]) for frame in frames]
    generator = types.SimpleNamespace(seediness_fg_threshold=threshold)
    indices, _ = original.get_subsequence_frames(
        len(frames), original.cfg.INPUT.NUM_FRAMES, "davis"
    )
    found = model(frames, indices)
    masks = original.TrackGenerator.get_fg_masks_from_seediness(generator, found)
    chainer = original.OnlineChainer(clusterer(original), embedding_resize_factor=1.0)
    clips = [
        {"frames": f, "embeddings": e, "bandwidths": b, "seediness": s}
        for f, e, b, s in found["embeddings"]
    ]
    (labels, counts, lifetimes), places, *_ = chainer.process(masks, clips)
    output = original.DavisOutputGenerator(
        str(folder), chainer.OUTLIER_LABEL, False, upscaled_inputs=False
    )
    sequence = types.SimpleNamespace(id="video", image_dims=frames[0].shape[:2])
    output.process_sequence(
        *(sequence, places, labels, counts, lifetimes, None, masks.shape[-2:], 4.0),
        *(20, original.device),
    )
    return folder / "results" / "video"
