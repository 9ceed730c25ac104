"""Target-aware discovery on DAVIS'19 unsupervised. Expect J&F 65.0 on val with all its
parts (CVPR 2021; R-50 and R-101), trained on DAVIS alone.

    python -m stemseg_jax.main --config=configs/target_aware_davis.py \\
        --workdir=runs/target_aware_davis
    python -m stemseg_jax.main --config=configs/target_aware_refiner.py \\
        --workdir=runs/target_aware_refiner
    python -m stemseg_jax.main --mode=evaluate --config=configs/target_aware_davis.py \\
        --checkpoint=runs/target_aware_refiner --workdir=runs/davis

`:proposals` scores the objects of each frame on their own, as Table 3 does: expect AP
52.0. `:unguided` is its other row, a network without guidance: expect AP 50.3.
"""

from configs import target_aware


def get_config(variant: str = ""):
    config = target_aware.get_config()
    config.init_from = target_aware.imagenet()
    config.data.mixture.davis17 = 1.0
    evaluation = config.evaluation
    evaluation.task = evaluation.dataset = "davis19"
    evaluation.ground_truth = "DAVIS"
    return target_aware.finish(config, variant, proposals=proposals, unguided=unguided)


def proposals(config):
    target_aware.proposals(config)
    # Scored as annotations of YouTube-VIS are; they are written from what is read.
    config.evaluation.ground_truth = ""


def unguided(config):
    target_aware.unguided(config)
    proposals(config)
