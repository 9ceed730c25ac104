"""The optimiser a config asks for, as one optax chain.

Sources: STEm-Seg (Athar et al., ECCV 2020), Sec. 4 and the authors' configurations,
which SRNet and the one for OVIS follow: SGD with Nesterov momentum 0.9, weight decay on
every trained parameter, a constant learning rate followed by an exponential decay.
"polynomial": Zhou et al., CVPR 2021. "adam", "amsgrad" and "step": the code that Hu et
al. (2019) and Zhou et al. build on (monodepth2, FRTM). In "amsgrad" the largest second
moment is one of those whose bias is already corrected; PyTorch corrects it after that.
"adamw", "cosine", warm-up: ours.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from stemseg_jax import choices

Schedule = Callable[[Any], Any]


def exponential(initial: float, *, start: int, steps: int, factor: float) -> Schedule:
    """Constant for `start` updates, then falls by `factor` every `steps` updates.

    The first update after `start` is already one step down, and there is no floor:
    update i >= start has rate initial * factor ** ((i - start + 1) / steps).
    """

    def rate(update):
        decayed = jnp.maximum(update - start + 1, 0) / steps
        return initial * factor**decayed

    return rate


def multi_step(
    initial: float, *, milestones: tuple[int, ...], factor: float
) -> Schedule:
    """Times `factor` at each milestone."""
    return optax.piecewise_constant_schedule(
        initial, dict.fromkeys((int(m) for m in milestones), factor)
    )


def polynomial(initial: float, *, total: int, power: float = 0.9) -> Schedule:
    """initial * (1 - i / total) ** power: zero after the whole training."""
    return optax.polynomial_schedule(initial, 0.0, power, total)


def constant(initial: float) -> Schedule:
    return optax.constant_schedule(initial)


def cosine(initial: float, *, total: int) -> Schedule:
    """Falls to zero along half a cosine over the whole training."""
    return optax.cosine_decay_schedule(initial, total)


SCHEDULES = {
    "constant": constant,
    "cosine": cosine,
    "exponential": exponential,
    "polynomial": polynomial,
    "step": multi_step,
}


# (options, rate, decay of weights, which weights decay) -> update
OPTIMIZERS = {
    "adam": lambda optim, rate, decay, decayed: optax.chain(decay, optax.adam(rate)),
    "amsgrad": lambda optim, rate, decay, decayed: optax.chain(
        decay, optax.amsgrad(rate)
    ),
    "adamw": lambda optim, rate, decay, decayed: optax.adamw(
        rate, weight_decay=optim.weight_decay, mask=decayed
    ),
    "sgd": lambda optim, rate, decay, decayed: optax.chain(
        decay, optax.sgd(rate, momentum=optim.momentum, nesterov=optim.nesterov)
    ),
}


def schedule(optim: ConfigDict) -> Schedule:
    """The learning rate as a function of the update's index, counted from 0.

    Raises:
        ValueError: The schedule is unknown, or has other options.
    """
    make = SCHEDULES[choices.known("optim.schedule", optim.schedule, SCHEDULES)]
    given = {"total": optim.steps, **optim.schedule_options}
    own = inspect.signature(make).parameters
    lacking = [n for n, o in own.items() if o.default is o.empty and n not in given]
    # Those of another schedule may stand there: the name alone is easily changed.
    known = {
        n for other in SCHEDULES.values() for n in inspect.signature(other).parameters
    }
    if lacking != ["initial"] or not given.keys() <= known:
        takes = [name for name in own if name not in ("initial", "total")]
        raise ValueError(
            f"optim.schedule_options={sorted(optim.schedule_options)}: the schedule "
            f"{optim.schedule!r} takes {takes}."
        )
    options = {name: value for name, value in given.items() if name in own}
    after = make(optim.learning_rate, **options)
    if not optim.warmup_steps:
        return after
    return lambda update: (
        after(update) * jnp.minimum((update + 1) / optim.warmup_steps, 1)
    )


def optimizer(
    optim: ConfigDict, params: Any, *, frozen: tuple[str, ...] = ()
) -> optax.GradientTransformation:
    """Gradient clipping, weight decay, momentum and learning rate, as configured.

    Frozen parameters are not touched at all, not even by weight decay, and cost no
    memory here; every other one is decayed, norm scales and biases included, unless
    `decay_norms` is off.

    Args:
        frozen: Beginnings of the paths of parameters that get no gradient.

    Raises:
        ValueError: For an unknown name, or `optim.rates` that fit nothing.
    """
    rate = schedule(optim)
    factors = rate_factors(params, dict(optim.rates), frozen)
    decayed = jax.tree.map(lambda p: optim.decay_norms or p.ndim > 1, params)
    # Decay joins the gradient before the momentum, as torch.optim.SGD and Adam have it.
    decay = optax.add_decayed_weights(optim.weight_decay, mask=decayed)
    name = choices.known("optim.name", optim.name, OPTIMIZERS)
    update = OPTIMIZERS[name](optim, rate, decay, decayed)
    if optim.clip_norm:
        update = optax.chain(optax.clip_by_global_norm(optim.clip_norm), update)
    if optim.rates:
        update = optax.chain(update, _scaled(factors))
    labels = {path: "train" if factor else "freeze" for path, factor in factors.items()}
    return optax.partition(
        {"train": update, "freeze": optax.set_to_zero()}, _by_path(labels.get, params)
    )


def rate_factors(
    params: Any, rates: Mapping[str, float], frozen: tuple[str, ...] = ()
) -> dict[str, float]:
    """Path of each parameter -> factor of its learning rate; 0: it keeps its value.

    Args:
        rates: Beginning of paths -> factor. A module's whole name, or, from the second
            on, a beginning of it: "body/stage1" for "body/stage1_block0/...". The
            longest counts; what none fits has 1.
        frozen: Beginnings whose factor is 0.

    Raises:
        ValueError: A beginning, of rates or frozen, fits no parameter, or frozen ones
            are to learn.
    """
    paths = [_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    named = [*rates, *frozen]
    unknown = [r for r in named if not any(_begins(path, r) for path in paths)]
    if unknown:
        depth = max(prefix.count("/") for prefix in unknown) + 1
        known = {"/".join(path.split("/")[:depth]) for path in paths}
        raise ValueError(
            f"optim.rates or the system names {', '.join(unknown)}, with which no "
            f"parameter begins; there are {', '.join(sorted(known))}."
        )
    learning = [
        r for r in rates if rates[r] and any(_begins(f"{r}/", f) for f in frozen)
    ]
    if learning:
        raise ValueError(
            f"optim.rates lets {', '.join(learning)} learn, to which the system passes "
            f"no gradient: it freezes {', '.join(frozen)} (model.freeze_stages, "
            "model.freeze_backbone)."
        )
    rates = {**rates, **dict.fromkeys(frozen, 0.0)}
    longest_first = sorted(rates, key=len, reverse=True)
    return {
        path: next((rates[r] for r in longest_first if _begins(path, r)), 1.0)
        for path in paths
    }


def _begins(path: str, prefix: str) -> bool:
    if path == prefix:
        return True
    return path.startswith(prefix if "/" in prefix else f"{prefix}/")


def _scaled(factors: Mapping[str, float]) -> optax.GradientTransformation:
    """Updates times the factor of their path."""
    return optax.stateless(
        lambda updates, _: jax.tree_util.tree_map_with_path(
            lambda path, update: update * factors[_name(path)], updates
        )
    )


def _by_path(value: Callable[[str], Any], params: Any) -> Any:
    return jax.tree_util.tree_map_with_path(lambda path, _: value(_name(path)), params)


def _name(path: tuple) -> str:
    return "/".join(str(getattr(entry, "key", entry)) for entry in path)
