"""The optimiser a config asks for, as one optax chain.

Source: STEm-Seg (Athar et al., ECCV 2020), Sec. 4 and the authors' configurations:
SGD with Nesterov momentum 0.9, weight decay on every trained parameter, a constant
learning rate followed by an exponential decay.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

Schedule = Callable[[Any], Any]


def exponential(
    initial: float, *, start: int, steps: int, factor: float, **_
) -> Schedule:
    """Constant for `start` updates, then falls by `factor` every `steps` updates.

    The first update after `start` is already one step down, and there is no floor:
    update i >= start has rate initial * factor ** ((i - start + 1) / steps).
    """

    def rate(update):
        decayed = jnp.maximum(update - start + 1, 0) / steps
        return initial * factor**decayed

    return rate


def multi_step(
    initial: float, *, milestones: tuple[int, ...], factor: float, **_
) -> Schedule:
    """Times `factor` at each milestone."""
    return optax.piecewise_constant_schedule(
        initial, dict.fromkeys((int(m) for m in milestones), factor)
    )


def constant(initial: float, **_) -> Schedule:
    return optax.constant_schedule(initial)


def cosine(initial: float, *, total: int, **_) -> Schedule:
    """Falls to zero along half a cosine over the whole training."""
    return optax.cosine_decay_schedule(initial, total)


SCHEDULES = {
    "constant": constant,
    "cosine": cosine,
    "exponential": exponential,
    "step": multi_step,
}


def schedule(optim: ConfigDict) -> Schedule:
    """The learning rate as a function of the update's index, counted from 0."""
    if optim.schedule not in SCHEDULES:
        raise ValueError(
            f"optim.schedule={optim.schedule!r} is unknown; known: {sorted(SCHEDULES)}."
        )
    after = SCHEDULES[optim.schedule](
        optim.learning_rate, total=optim.steps, **optim.schedule_options
    )
    if not optim.warmup_steps:
        return after
    return lambda update: (
        after(update) * jnp.minimum((update + 1) / optim.warmup_steps, 1)
    )


def trainable(params: Any, frozen: tuple[str, ...]) -> Any:
    """True for parameters whose path begins with none of `frozen`, e.g. "body/stem"."""

    def free(path, _):
        name = "/".join(str(getattr(entry, "key", entry)) for entry in path)
        return not name.startswith(frozen)

    return jax.tree_util.tree_map_with_path(free, params)


def optimizer(
    optim: ConfigDict, params: Any, *, frozen: tuple[str, ...] = ()
) -> optax.GradientTransformation:
    """Gradient clipping, weight decay, momentum and learning rate, as configured.

    Frozen parameters are not touched at all, not even by weight decay; every other
    parameter is decayed, norm scales and biases included, unless `decay_norms` is off.
    """
    rate = schedule(optim)
    decayed = jax.tree.map(lambda p: optim.decay_norms or p.ndim > 1, params)
    if optim.name == "sgd":
        # Decay joins the gradient before the momentum, as torch.optim.SGD has it.
        update = optax.chain(
            optax.add_decayed_weights(optim.weight_decay, mask=decayed),
            optax.sgd(rate, momentum=optim.momentum, nesterov=optim.nesterov),
        )
    elif optim.name == "adamw":
        update = optax.adamw(rate, weight_decay=optim.weight_decay, mask=decayed)
    else:
        raise ValueError(
            f"optim.name={optim.name!r} is unknown; known: ['adamw', 'sgd']."
        )
    if optim.clip_norm:
        update = optax.chain(optax.clip_by_global_norm(optim.clip_norm), update)
    labels = jax.tree.map(
        lambda free: "train" if free else "freeze", trainable(params, frozen)
    )
    return optax.partition({"train": update, "freeze": optax.set_to_zero()}, labels)
