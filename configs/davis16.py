"""STEm-Seg on DAVIS'16: the foreground as one object. Expect F 80.6 on val, as a public
list of results quotes the paper (ECCV 2020, R-101).

    python -m stemseg_jax.main --config=configs/davis16.py --workdir=runs/davis16

The paper's: one decoder, which tells foreground from background, and a bootstrapped
cross entropy. Its authors' program does not hold this experiment; the rest is ours.
Data and schedule are those of configs/davis.py, with DAVIS'16 in place of DAVIS'19 and
no instance doubled; every instance of the other sets counts as foreground. The hardest
quarter of the cells counts, as in a later program of the same group for the same task
(3DC-Seg, BMVC 2020).
"""

from configs import davis, saliency


def get_config(variant: str = ""):
    config = saliency.get_config()
    like = davis.get_config()
    config.num_frames = like.num_frames
    config.init_from = like.init_from
    config.optim = like.optim

    data = config.data = like.data.unlock()
    data.mixture = dict(coco=0.25, ytvis=0.35, davis16=0.30, pascal_voc=0.10)
    data.options.davis16 = dict(exhaustive=True)  # what is not foreground is background
    data.span = dict(davis16=(16, 16), ytvis=(8, 8))
    data.duplicate = ()  # a second one would be the same foreground

    config.tracking.overlap = like.tracking.overlap

    evaluation = config.evaluation
    evaluation.task = evaluation.dataset = "davis16"
    evaluation.ground_truth = "DAVIS"
    evaluation.min_dim, evaluation.max_dim = data.min_dim, data.max_dim
    return saliency.finish(config, variant)
