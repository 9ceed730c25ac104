"""Training, read from top to bottom."""

import functools
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from absl import logging
from ml_collections import ConfigDict

from stemseg_jax import (
    checkpoints,
    device_memory,
    hosts,
    models,
    optimization,
    parallel,
    profiling,
    run_log,
    structures,
    validation,
)
from stemseg_jax.data import pipeline
from stemseg_jax.interruption import Interruption
from stemseg_jax.structures import Collections, PackedClips
from stemseg_jax.systems import base

# Options that decide what a run is; it goes on with those that it began with.
FIXED = (
    *("parity", "seed", "num_frames"),
    *("optim.batch_size", "data.mixture", "data.aspects"),
)


class TrainState(NamedTuple):
    """All that a resumed run needs."""

    step: jax.Array  # updates done
    params: Any
    collections: Collections  # what else the network holds, as the last clips left it
    average: Any  # exponential average of parameters and collections, or {}
    optimizer: optax.OptState


def run(config: ConfigDict, workdir: str) -> None:
    """Trains until `optim.steps`, going on where `workdir` stopped.

    SIGTERM and Ctrl-C end the current update, save and stop.

    Raises:
        FloatingPointError: If too many updates in a row are not finite, naming step,
            terms and clips. One that is not changes nothing, and is told.
        OSError: If something cannot be written, a checkpoint above all.
        ValueError: If the checkpoint in `workdir` belongs to another model or a run of
            other options, another run is at work there, or what would be replaced is
            not a run's.
    """
    folder = pathlib.Path(workdir)
    # Those of a run that goes on are known to be ours by its checkpoint.
    resumes = checkpoints.steps(folder / "checkpoints")
    writes = () if resumes else run_log.WRITES
    with hosts.lock(folder, "train", writes=writes):
        return _run(config, folder)


def _run(config: ConfigDict, folder: pathlib.Path) -> None:
    optim = config.optim

    # ------------------------------------------------------------------- devices
    devices, passes = parallel.split(
        optim.batch_size, clips_per_device=optim.clips_per_device
    )
    where = parallel.shardings(devices)
    logging.info(
        "%d clips per update on %d %s device(s) in %d forward pass(es)",
        *(optim.batch_size, len(devices), devices[0].platform, passes),
    )

    # --------------------------------------------------------------------- state
    saved = checkpoints.Checkpoints(
        folder / "checkpoints",
        keep=config.keep_checkpoints,
        milestones=config.milestone_every,
    )
    resumes = saved.latest() is not None
    if resumes:
        before = checkpoints.config(saved.folder)
        refuse_changes(config, before, saved.folder)
        config = models.with_saved_conventions(config, before)
        system, variables = models.abstract(config)
    else:
        config, system, variables = models.initial(config)
    tx = optimization.optimizer(
        optim, variables["params"], frozen=system.frozen_modules()
    )

    new_state = functools.partial(first_state, tx=tx, decay=optim.average_decay)
    if resumes:
        start, state = saved.restore(
            parallel.placed(jax.eval_shape(new_state, variables), where.replicated)
        )
        logging.info("Resumed at step %d of %s", start, saved.folder)
    else:
        start = 0
        variables = jax.device_get(variables)  # of this host, not yet of all
        state = jax.jit(new_state, out_shardings=where.replicated)(variables)
    logging.info("%.2f M parameters", models.size(state.params) / 1e6)
    del variables

    # ---------------------------------------------------------------------- loop
    batches = pipeline.training_batches(
        config,
        batch_size=optim.batch_size,
        start_step=start,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        passes=passes,
    )
    update = update_of(config, system, tx)
    rate = optimization.schedule(optim)
    with (
        saved,
        run_log.Log(folder, config, start) as log,
        validation.Validation(config, system, folder, start) as validate,
        profiling.Trace(folder, config.profile_steps) as trace,
        Interruption("Stopping after this update; the run can be resumed.") as stop,
        device_memory.explained(
            "training",
            *device_memory.to_train(
                clips_per_device=optim.clips_per_device,
                remat=config.model.remat,
                dtype=config.model.dtype,
            ),
        ),
    ):
        log.write_config(config)
        updates = {}  # compiled, of each canvas
        wish = parallel.Largest(where)
        due = checkpoints.Due(
            *(config.checkpoint_every, config.milestone_every),
            minutes=config.checkpoint_minutes,
        )
        for step in range(start, optim.steps):
            with log.waiting():
                batch = next(batches)
            clips = parallel.to_global(models.clips(batch), where, passes=passes)
            size = clips.frames.shape[-3:-1]
            if size not in updates:
                with log.compilation(size):
                    step_fn = parallel.jit_step(update, where).lower(state, clips)
                    updates[size] = step_fn.compile()
            trace.before(step + 1)
            state, metrics = updates[size](state, clips)
            trace.after(step + 1, metrics)
            log.step(step + 1, metrics, batch, rate=rate)
            # Of any host: an exit status if it is told to stop, and whether it is late.
            code, late = divmod(wish(2 * stop.exit_code + due.late()), 2)
            done = step + 1 == optim.steps or code
            if due(step + 1, late=bool(late)) or done:
                log.check()
                saved.save(step + 1, state, config)
            if validate.due(step + 1) and not code:
                log.check()
                found = validate(step + 1, current(state), state)
                log.validated(step + 1, found.figures, found.picture)
            if code:
                raise SystemExit(code)


def update_of(
    config: ConfigDict, system: base.System, tx: optax.GradientTransformation
) -> Callable[[TrainState, PackedClips], tuple[TrainState, dict]]:
    """The update of a run, to be compiled by `parallel.jit_step`."""

    def update(state: TrainState, batch: PackedClips) -> tuple[TrainState, dict]:
        """One optimiser step on a batch [passes, clips, ...]."""

        def one_pass(collections, clips, keys):
            unpacked = clips.unpacked()

            def loss(params):
                total, *rest = system.loss(
                    {"params": params, **collections}, unpacked, keys
                )
                return total, rest

            (total, (report, collections)), gradient = jax.value_and_grad(
                loss, has_aux=True
            )(state.params)
            metrics = {"loss": total, **report.terms}
            return collections, (gradient, metrics), report.clips

        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        keys = jax.random.split(key, batch.valid.shape[:2])  # one for each clip
        keys = parallel.in_turns(keys, state.step)
        collections, (gradient, metrics), each = mean_over_passes(
            one_pass, state.collections, batch, keys
        )
        updates, opt_state = tx.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        average = moving_average(
            state.average,
            {"params": params, **collections},
            state.step,
            decay=config.optim.average_decay,
        )
        metrics["gradient_norm"] = optax.tree.norm(gradient)
        new = TrainState(state.step + 1, params, collections, average, opt_state)
        sums = [optax.tree.norm(part) for part in (updates, floats(collections))]
        finite = jnp.isfinite(jnp.stack([*metrics.values(), *sums])).all()
        metrics |= {"not_finite": ~finite, "clips": each}
        return kept_if(finite, new, state), metrics

    return update


def first_state(
    variables: structures.Variables, tx: optax.GradientTransformation, *, decay: float
) -> TrainState:
    """Of a run that begins; `decay` is that of the average."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        collections=structures.collections(variables),
        average=variables if decay else {},
        optimizer=tx.init(variables["params"]),
    )


def refuse_changes(
    config: ConfigDict, before: Mapping[str, Any], folder: pathlib.Path
) -> None:
    """A run that goes on otherwise than it began is neither the one nor the other.

    Raises:
        ValueError: An option of `FIXED` has changed, and nobody asked for it.
    """
    if config.optim.allow_changes:
        return

    def value(options: Mapping[str, Any], path: str) -> Any:
        for part in path.split("."):
            if part not in options:
                return json.loads(json.dumps(models.ADDED.get(path)))  # it came since
            options = options[part]
        return options

    now = json.loads(config.to_json_best_effort())
    pairs = {path: (value(before, path), value(now, path)) for path in FIXED}
    changed = [f"{k} was {a}, is {b}" for k, (a, b) in pairs.items() if a != b]
    if changed:
        raise ValueError(
            f"{folder} goes on with other options than it began with: "
            f"{'; '.join(changed)}. Give them as they were, begin elsewhere from its "
            "weights (--config.init_from), or say --config.optim.allow_changes=True."
        )


def current(state: TrainState) -> structures.Variables:
    """The weights that a run stands for: their average, if there is one."""
    return state.average or {"params": state.params, **state.collections}


def mean_over_passes(
    one_pass, collections: Collections, batch: PackedClips, keys: jax.Array
) -> tuple[Collections, Any, Any]:
    """`one_pass(collections, clips, keys)` over the leading axis of `batch` and `keys`.

    It gives collections, which go from pass to pass; what is to be the mean of all
    passes; and what comes out of each, stacked.
    """
    if keys.shape[0] == 1:  # no loop: XLA does not see through one of length 1
        first = jax.tree.map(lambda x: x[0], batch)
        collections, mean, each = one_pass(collections, first, keys[0])
        return collections, mean, jax.tree.map(lambda x: x[None], each)

    def add(carry, clips_and_key):
        collections, total = carry
        collections, new, each = one_pass(collections, *clips_and_key)
        return (collections, jax.tree.map(jnp.add, total, new)), each

    first = jax.tree.map(lambda x: x[0], batch)
    _, shapes, _ = jax.eval_shape(one_pass, collections, first, keys[0])
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    (collections, total), each = jax.lax.scan(add, (collections, zeros), (batch, keys))
    return collections, jax.tree.map(lambda x: x / keys.shape[0], total), each


def floats(collections: Collections) -> list[jax.Array]:
    leaves = jax.tree.leaves(collections)
    return [x for x in leaves if jnp.issubdtype(x.dtype, jnp.floating)]


def kept_if(finite: jax.Array, new: TrainState, before: TrainState) -> TrainState:
    """The new state, or the one before; what counts goes on, and with it the rate."""

    def kept(x, before):
        is_count = jnp.issubdtype(x.dtype, jnp.integer)
        return x if is_count else jnp.where(finite, x, before)

    return jax.tree.map(kept, new, before)


def moving_average(average: Any, new: Any, step: jax.Array, *, decay: float) -> Any:
    """Exponential moving average; young averages forget faster, as (1 + t)/(10 + t).

    What stays the same is not rounded; what is not a float is taken as it is.
    """
    if not decay:
        return {}
    decay = jnp.minimum(decay, (1 + step) / (10 + step))

    def blend(old, new):
        if not jnp.issubdtype(new.dtype, jnp.floating):
            return new
        blended = decay * old + (1 - decay) * new
        return jnp.where(old == new, new, blended).astype(new.dtype)

    return jax.tree.map(blend, average, new)
