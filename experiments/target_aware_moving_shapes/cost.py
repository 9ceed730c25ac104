"""What a frame costs, stage by stage, with 1 to 20 targets. See README.md."""

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
from stemseg_jax.clustering.centres_offsets import Proposals
from stemseg_jax.formats import whole
from stemseg_jax.outputs import curves, report
from stemseg_jax.systems.target_aware import TargetAware

SIZE = 96, 160
COUNTS = (1, 2, 5, 10, 15, 20)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    config = target_aware_moving_shapes.get_config().unlock()
    config.tracking.max_tracks = 20
    _, system, variables = models.initial(config)
    found = dict(times(system, variables, options.rounds))
    text = report.table(
        [{"targets": count} | milliseconds for count, milliseconds in found.items()],
        digits=0,
    )
    whole.write_text(options.output / "cost.txt", text + "\n")
    print(text)
    stages = next(iter(found.values()))
    drawn = {name: [(n, found[n][name]) for n in found] for name in stages}
    picture = curves.svg(drawn, x="targets", y="milliseconds")
    whole.write_text(options.output / "cost.svg", picture)


def times(
    system: TargetAware, variables, rounds: int
) -> Iterator[tuple[int, dict[str, float]]]:
    """Milliseconds of each stage with so many targets: medians, without compilation."""
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(1, *SIZE, 3)), jnp.float32)
    side = system.tracking.size
    view = jnp.asarray(rng.normal(size=(1, side, side, 3)), jnp.float32)
    inside, extent = jnp.ones(SIZE, bool), jnp.array(SIZE, jnp.float32)
    apply = functools.partial(system.network.apply, variables)
    before = jnp.concatenate([images, images[..., :1]], axis=-1)
    discover = jax.jit(lambda *given: apply(*given, method="discover"))
    follow = jax.jit(
        lambda state, objects: system._follow(
            apply, state, objects, images[0], view, inside, extent
        )
    )
    state = system.start(variables, system.geometry(SIZE))
    for count in COUNTS:
        objects = proposals(count, system.clustering.max_instances)
        tracks, next_id, *_ = follow(state, objects)
        later = state._replace(tracks=tracks, next_id=next_id, frame=state.frame + 1)
        # In the frames to come each is verified, and so learns at once.
        stages = {
            "find objects": (discover, images, before),
            "frame in which all appear": (follow, state, objects),
            "later frame": (follow, later, objects),
        }
        found = {}
        for name, (run, *given) in stages.items():
            taken = []
            for _ in range(1 + rounds):
                begin = time.perf_counter()
                jax.block_until_ready(run(*given))
                taken.append(1e3 * (time.perf_counter() - begin))
            found[name] = float(np.median(taken[1:]))
        yield count, found


def proposals(count: int, slots: int) -> Proposals:
    """So many rectangles side by side."""
    labels = np.full(SIZE, -1, np.int32)
    for k in range(count):
        row, column = divmod(k, 5)
        labels[24 * row + 2 : 24 * row + 20, 32 * column + 2 : 32 * column + 28] = k
    valid = jnp.arange(slots) < count
    return Proposals(jnp.asarray(labels), jnp.where(valid, 0.9, 0.0), valid)


if __name__ == "__main__":
    main()
