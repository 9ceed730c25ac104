"""What a frame costs, stage by stage, with 1 to 20 targets. See README.md.

Weights are not trained, and so find nothing: what is found is put in its place where it
is used, and all is computed as if the network had said it.
"""

import argparse
import functools
import pathlib
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from configs import target_aware_moving_shapes
from stemseg_jax import models
from stemseg_jax.clustering import centres_offsets
from stemseg_jax.clustering.centres_offsets import Proposals
from stemseg_jax.formats import whole
from stemseg_jax.ops import resize
from stemseg_jax.outputs import curves, report
from stemseg_jax.systems.target_aware import TargetAware

SIZE = 96, 160
COUNTS = (1, 2, 5, 10, 15, 20)
SCORE = 0.9  # of a proposal


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    config = target_aware_moving_shapes.get_config().unlock()
    config.tracking.max_tracks = 20
    config.update(config.benchmark.changes)  # centres everywhere
    _, system, variables = models.initial(config)
    found = dict(times(system, variables, options.rounds))
    text = report.table(
        [{"targets": n} | taken | per_second(taken) for n, taken in found.items()],
        digits=1,
    )
    whole.write_text(options.output / "cost.txt", text + "\n")
    print(text)
    stages = next(iter(found.values()))
    drawn = {name: [(n, found[n][name]) for n in found] for name in stages}
    picture = curves.svg(drawn, x="targets", y="milliseconds")
    whole.write_text(options.output / "cost.svg", picture)


def per_second(taken: dict[str, float]) -> dict[str, float]:
    """Frames, of the columns of the paper's Table 5."""
    proposals, tracking = taken["find objects"], taken["later frame"]
    stages = {
        "proposals": proposals,
        "tracking": tracking,
        "total": proposals + tracking,
    }
    return {f"{name}, frames/s": 1e3 / value for name, value in stages.items()}


def times(
    system: TargetAware, variables, rounds: int
) -> Iterator[tuple[int, dict[str, float]]]:
    """Milliseconds of each stage with so many targets: medians, without compilation."""
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.normal(size=(*SIZE, 3)), jnp.float32)
    side = (system.tracking.size,) * 2
    view = resize.linear(image[None], side)
    inside, extent = jnp.ones(SIZE, bool), jnp.array(SIZE, jnp.float32)
    apply = functools.partial(system.network.apply, variables)
    slots, K = system.clustering.max_instances, system.tracking.max_tracks

    @jax.jit
    def find(image, foreground):
        before = jnp.concatenate([image, foreground[..., None]], axis=-1)
        maps = apply(image[None], before[None], method="discover")
        maps = jax.tree.map(lambda x: x[0], maps)
        return centres_offsets.propose(
            *(maps.heatmap, maps.offsets, maps.foreground(), inside),
            settings=system.clustering,
        )

    @jax.jit
    def follow(state, objects):
        masks = objects.labels == jnp.arange(K)[:, None, None]
        wanted = resize.linear(masks[..., None].astype(jnp.float32), side)[..., 0]

        def see(*given, method):
            found = apply(*given, method=method)
            if method != "refine":
                return found
            # What the refiner says counts only where it is not finite: it is computed.
            return jnp.where(jnp.isfinite(found), 20 * wanted[None] - 10, found)

        return system._follow(see, state, objects, image, view, inside, extent)

    state = system.start(variables, system.geometry(SIZE))
    for count in COUNTS:
        objects = proposals(count, slots)
        first = follow(state, objects)
        tracks, next_id, *_ = first
        assert int(next_id) == 1 + count, "all are new in the first frame"
        later = state._replace(tracks=tracks, next_id=next_id, frame=state.frame + 1)
        check_verified(tracks, next_id, follow(later, objects), count)
        stages = {
            "find objects": (find, image, jnp.zeros(SIZE)),
            "first frame": (follow, state, objects),
            "later frame": (follow, later, objects),
        }
        yield count, {name: median(rounds, *run) for name, run in stages.items()}


def check_verified(tracks, next_id, after, count: int) -> None:
    """Each proposal was taken by its target, which then learnt, and none is new."""
    tracks_after, next_id_after, _, scores = after
    assert next_id_after == next_id, "a proposal opened a track"
    np.testing.assert_array_equal(tracks_after.ids, tracks.ids)
    np.testing.assert_allclose(scores[:count], SCORE, err_msg="not verified")
    old, new = (x.models.layers.filter[:count] for x in (tracks, tracks_after))
    assert (np.abs(old - new).max(axis=(1, 2)) > 0).all(), "a model did not learn"


def median(rounds: int, run, *given) -> float:
    """Milliseconds."""
    taken = []
    for _ in range(1 + rounds):
        begin = time.perf_counter()
        jax.block_until_ready(run(*given))
        taken.append(1e3 * (time.perf_counter() - begin))
    return float(np.median(taken[1:]))


def proposals(count: int, slots: int) -> Proposals:
    """So many rectangles side by side."""
    labels = np.full(SIZE, -1, np.int32)
    for k in range(count):
        row, column = divmod(k, 5)
        labels[24 * row + 2 : 24 * row + 20, 32 * column + 2 : 32 * column + 28] = k
    valid = jnp.arange(slots) < count
    return Proposals(jnp.asarray(labels), jnp.where(valid, SCORE, 0.0), valid)


if __name__ == "__main__":
    main()
