"""The tracking of the causal embedding in plain Python, from what its paper says."""

import numpy as np

from tests.systems import painted_causal


def mean_shift(points, rng, bandwidth):
    """The cluster of each point, or -1; seeds in an order of their own."""
    labels = np.full(len(points), -2)
    count = 0
    while (labels == -2).any():
        seed = rng.choice(np.flatnonzero(labels == -2))
        mode = points[seed]
        for _ in range(300):
            near = np.linalg.norm(points - mode, axis=1) <= bandwidth
            moved = points[near].mean(axis=0)
            step = np.linalg.norm(moved - mode)
            if step <= 1e-3 * bandwidth:
                break
            mode = moved
        members = (labels == -2) & (np.linalg.norm(points - mode, axis=1) <= bandwidth)
        if not members[seed]:
            labels[seed] = -1
            continue
        labels[members] = count
        count += 1
    return labels


def track(images, config, truth=None):
    """Ids [L H W] of frames [L H W 3]: 0 background, -1 in no cluster."""
    rng = np.random.default_rng(5)
    tracking, clustering = config.tracking, config.clustering
    before = np.zeros_like(images[0])
    memory, known, ids = [], {}, np.zeros(images.shape[:3], int)
    next_id = 1
    for t, image in enumerate(images):
        embedding = painted_causal.embeddings(image, before)
        probability = painted_causal.logistic(painted_causal.foreground(image))
        seen = probability > tracking.foreground_threshold
        if tracking.true_masks:
            seen = truth[t] > 0
        groups = []
        if tracking.true_means:
            numbers = [n for n in np.unique(truth[t]) if n]
            means = [embedding[truth[t] == n].mean(axis=0) for n in numbers]
            far = [np.linalg.norm(embedding - mean, axis=-1) for mean in means]
            for k in range(len(numbers)):
                nearest = far[k] == np.min(far, axis=0)
                groups.append(seen & nearest & (far[k] < tracking.radius))
        else:
            points = np.concatenate([*memory, embedding[seen]])
            labels = mean_shift(points, rng, clustering.bandwidth)
            own = np.full(seen.shape, -1)
            own[seen] = labels[len(points) - seen.sum() :]
            groups = [own == k for k in np.unique(own) if k >= 0]
        groups = [g for g in groups if g.sum() >= clustering.min_points]
        groups = sorted(groups, key=lambda g: -g.sum())[: clustering.max_instances]
        means = [embedding[group].mean(axis=0) for group in groups]
        pairs = sorted(
            (np.linalg.norm(mean - known[name][0]), k, name)
            for k, mean in enumerate(means)
            for name in known
        )
        names = {}
        for distance, k, name in pairs:
            is_free = k not in names and name not in names.values()
            if distance < tracking.radius and is_free:
                names[k] = name
        ids[t][seen] = -1
        for k, group in enumerate(groups):
            if k not in names:
                names[k], next_id = next_id, next_id + 1
            known[names[k]] = means[k], t
            ids[t][group] = names[k]
        if tracking.time_to_live is not None:
            known = {
                name: value
                for name, value in known.items()
                if t - value[1] <= tracking.time_to_live
            }
        memory = [*memory, embedding[seen]]
        memory = memory[max(len(memory) - (tracking.span - 1), 0) :]
        before = image
    return ids
