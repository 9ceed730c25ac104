"""Target-aware discovery on YouTube-VIS 2019: the foreground tells classes apart.
Expect AP 37.1 on valid (CVPR 2021).

    python -m stemseg_jax.main --config=configs/target_aware_ytvis.py \\
        --workdir=runs/target_aware_ytvis
    python -m stemseg_jax.main --config=configs/target_aware_refiner.py:ytvis \\
        --workdir=runs/target_aware_refiner

The annotations of valid are on the server: `--mode=evaluate` writes results.zip for it.
"""

from configs import target_aware


def get_config(variant: str = ""):
    config = target_aware.get_config()
    config.init_from = target_aware.imagenet()
    ytvis(config)
    return target_aware.finish(config, variant)


def ytvis(config):
    config.model.num_classes = 41
    config.model.categories = "ytvis"
    config.data.mixture = dict(ytvis=1.0)
    config.selection.limit = 10
    evaluation = config.evaluation
    evaluation.task = evaluation.dataset = "ytvis"
    evaluation.split = "valid"
    evaluation.ground_truth = "YouTubeVIS/valid.json"
    evaluation.min_dim, evaluation.max_dim = 480, 864
