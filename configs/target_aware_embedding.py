"""The third phase, where wanted: crops of an object near to each other. PReMVOS's
numbers (ACCV 2018, its code), on a smaller network.

    python -m stemseg_jax.main --config=configs/target_aware_embedding.py \\
        --workdir=runs/target_aware_embedding

It goes on from runs/target_aware_refiner.

`tracking.min_similarity` belongs to the embedding: choose it anew on training videos.
"""

from configs import target_aware


def get_config(variant: str = ""):
    config = target_aware.get_config()
    config.init_from = "runs/target_aware_refiner"
    config.data.mixture = dict(davis17=0.5, ytvis=0.5)
    embedding(config)
    evaluation = config.evaluation
    evaluation.task = evaluation.dataset = "davis19"
    evaluation.ground_truth = "DAVIS"
    return target_aware.finish(config, variant)


def embedding(config):
    config.loss.parts = ("embedding",)
    config.num_frames = 4
    config.data.sampling.rule = "later"
    config.data.transforms = ("resize", "flip")  # whole objects, not cut at a border
    optim = config.optim
    optim.name = "adam"
    optim.steps = 20_000
    optim.rates = {}
    optim.learning_rate = 1e-5
    optim.weight_decay = 0.0
    optim.schedule = "constant"
    optim.schedule_options = {}
