"""The causal embedding on KITTI-MOTS, cars only. Expect MOTSA 61.3, sMOTSA 46.1 on val
(Hu, Kendall, Cipolla, Table 2) by the paper's own way of counting, which is not the
official one: compare its rows with each other. Ours; the paper says nothing of its
training but clips of five frames.

    python -m stemseg_jax.main --config=configs/causal_kitti.py \\
        --workdir=runs/causal_kitti

This is the first phase, which leaves the network of the foreground as it was: what is
to be tracked with comes out of configs/causal_kitti_foreground.py. Table 2's other rows
are `causal_kitti.py:no_depth`, `:no_temporal` and `:single_frame`; those of Tables 3
and 4 are in configs/causal_embedding.py. The weights of ResNet-18 are torchvision's:
https://download.pytorch.org/models/resnet18-f37072fd.pth
"""

from configs import causal_embedding

RESNET = "weights/resnet18-f37072fd.pth"  # torchvision's, of ImageNet


def get_config(variant: str = ""):
    config = causal_embedding.get_config()
    config.init_from = {
        "encoder/body": dict(file=RESNET, module="body"),
        "pose/body": dict(file=RESNET, module="body", widen="repeat"),
        "mask_encoder/body": dict(file=RESNET, module="body"),  # for the second phase
    }

    data = config.data
    data.mixture.kitti_mots = 1.0
    data.options.kitti_mots = dict(classes=("car",))
    data.min_dim, data.max_dim = 192, 640
    data.height, data.width = 192, 640
    # Where a sequence has no calibration: what monodepth2 takes for KITTI.
    data.assumed_camera = (0.58, 1.92, 0.5, 0.5)
    data.max_instances = 32

    optim = config.optim
    optim.name = "adam"
    optim.batch_size = optim.clips_per_device = 4  # all of them: batch norms see them
    optim.steps = 40_000
    optim.learning_rate = 1e-4
    optim.schedule = "step"
    optim.schedule_options = dict(milestones=(26_667,), factor=0.1)
    optim.weight_decay = 0.0

    config.selection.limit = 999  # a file has room for no more
    config.selection.by = "pixels"

    evaluation = config.evaluation
    evaluation.task = "kitti_mots_cars"
    evaluation.dataset = "kitti_mots"
    evaluation.options = dict(classes=("car",))  # of the truth that Table 3 gives
    evaluation.ground_truth = "KITTI_MOTS"
    evaluation.min_dim, evaluation.max_dim = 192, 640
    evaluation.also_at = (192, 640)
    return causal_embedding.finish(config, variant)
