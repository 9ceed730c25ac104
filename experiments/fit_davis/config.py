"""A CPU-size STEm-Seg that fits a handful of real DAVIS sequences.

Not a result: it is trained and scored on the same frames. It shows that real video goes
through the official layout, the trainer, the scores and prediction.

    python experiments/fit_davis/run.py --data=FOLDER_WITH_DAVIS
"""

from configs import moving_shapes, stemseg


def get_config(variant: str = ""):
    config = moving_shapes.get_config().unlock()
    config.model.num_classes = 2  # background, object
    config.model.categories = "object"

    data = config.data
    data.mixture = dict(davis19=1.0)
    # What is not labelled counts as background here: there is no other data to learn
    # background from.
    data.options = dict(davis19=dict(split="val", exhaustive=True))
    data.span = dict(davis19=(7, 12))
    data.min_dim, data.max_dim = 126, 224
    data.height, data.width = 128, 224

    config.optim.steps = 3000
    config.tracking.overlap = 4

    evaluation = config.evaluation
    evaluation.task = evaluation.dataset = "davis19"
    evaluation.split = "val"
    evaluation.options = {}
    evaluation.ground_truth = "DAVIS"
    evaluation.min_dim, evaluation.max_dim = 126, 224
    return stemseg.finish(config, variant)
