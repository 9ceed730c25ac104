"""Losses, schedules and updates."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from stemseg_jax import optimization
from stemseg_jax.losses import embedding, lovasz, segmentation
from tests import goldens
from tests.parity import figures, network, released
from tests.parity.figures import Figure

WEIGHTS = {"lovasz": 1.0, "smoothness": 10.0, "seediness": 1.0}  # of every config


def losses(folder: pathlib.Path, name: str) -> list[Figure]:
    """Each loss on its own, with its gradient."""
    meta, arrays = goldens.load(folder, name)
    results = []
    for case, expected in meta["lovasz"].items():
        results += _lovasz(f"lovasz.{case}", expected, arrays)
    for case, expected in meta["embedding"].items():
        results += _embedding(f"emb.{case}", expected, arrays)
    for case in ("ignore", "noignore"):
        results += _semantic(case, meta["semseg"], arrays)
    return results


def _lovasz(case: str, expected: dict[str, Any], arrays: dict) -> list[Figure]:
    logits, labels = arrays[f"{case}.logits"], arrays[f"{case}.labels"] > 0
    value, gradient = jax.value_and_grad(lovasz.hinge)(logits, jnp.asarray(labels))
    theirs = arrays[f"{case}.grad"]
    gradient = _gradient(case, gradient, theirs)
    if not gradient.met:
        # Theirs are differences of float32 numbers below 1, with the rounding of these.
        rounding = 2**-22 / np.abs(theirs).max()
        gradient = gradient._replace(bar=rounding, note="rounding of the reference")
    return [figures.relative(case, value, expected["loss"], figures.LOSSES), gradient]


def _embedding(case: str, expected: dict[str, Any], arrays: dict) -> list[Figure]:
    maps = goldens.channels_last(arrays[f"{case}.map"])  # [B T h w channels]
    B, T, h, w = maps.shape[:4]
    N = max(1, *expected["instances"])
    masks, ignore = np.zeros((B, N, T, h, w), bool), np.zeros((B, T, h, w), bool)
    for b, count in enumerate(expected["instances"]):
        masks[b, :count] = arrays[f"{case}.masks{b}"]
        ignore[b] = arrays[f"{case}.ignore{b}"]
    valid = np.arange(N) < np.array(expected["instances"])[:, None]

    @jax.jit
    def total(maps):
        e, v, s = jnp.split(maps, [expected["esize"], maps.shape[-1] - 1], axis=-1)

        def sums(*clip):
            free_std = tuple(expected["stds"])
            own = embedding.terms(*clip, free_std=free_std, parity="released")
            return goldens.embedding_sums(own, *clip[3:5])

        of_clips = jax.vmap(sums)(e, v, s[..., 0], masks, valid, ignore)
        terms = goldens.embedding_means(of_clips)._asdict()
        terms["lovasz"] = terms.pop("overlap")
        return sum(WEIGHTS[term] * terms[term] for term in terms), terms

    (value, terms), gradient = jax.value_and_grad(total, has_aux=True)(maps)
    theirs = {
        "lovasz": expected["components"]["lovasz_loss"],
        "smoothness": expected["components"]["variance_smoothness_loss"],
        "seediness": expected["components"]["seediness_loss"],
        "total": expected["total"],
    }
    results = [
        figures.relative(f"{case}: {term}", ours, theirs[term], figures.LOSSES)
        for term, ours in {**terms, "total": value}.items()
    ]
    norm = np.linalg.norm(gradient)
    results.append(_gradient(f"{case}: norm", norm, expected["grad_norm"]))
    if f"{case}.grad" in arrays:
        expected_gradient = goldens.channels_last(arrays[f"{case}.grad"])
        results.append(_gradient(case, gradient, expected_gradient))
    return results


def _semantic(case: str, meta: dict[str, Any], arrays: dict) -> list[Figure]:
    logits = goldens.channels_last(arrays["sem.logits"], axis=2)  # [B T h w C+1]
    clips = range(len(logits))
    masks = np.stack([arrays[f"sem.masks{b}"] > 0 for b in clips])
    categories = np.array([meta[f"categories{b}"] for b in clips], np.int32)
    ignore = np.stack([arrays[f"sem.ignore{b}"] > 0 for b in clips])
    ignore &= case == "ignore"

    @jax.jit
    def total(logits):
        def terms(logits, masks, categories, ignore):
            labels = segmentation.labels(masks, categories, categories > 0)
            target = (labels > 0).astype(jnp.float32)
            return {
                "semantic_segmentation_loss": segmentation.semantic(
                    logits[..., :-1], labels, ignore, parity="released"
                ),
                "foreground": segmentation.foreground(logits[..., -1], target, ignore),
            }, labels

        terms, labels = jax.vmap(terms)(logits, masks, categories, ignore)
        terms = {name: term.mean() for name, term in terms.items()}
        return sum(terms.values()), (terms, labels)

    (_, (terms, labels)), gradient = jax.value_and_grad(total, has_aux=True)(logits)
    results = [
        figures.relative(f"sem.{case}: {name}", term, meta[case][name], figures.LOSSES)
        for name, term in terms.items()
    ]
    norm = np.linalg.norm(gradient)
    results.append(_gradient(f"sem.{case}: norm", norm, meta[case]["grad_norm"]))
    if case == "ignore":
        expected = np.stack([arrays[f"sem.semseg{b}"] for b in clips])
        results.append(figures.different("sem: targets", labels, expected))
        theirs = goldens.channels_last(arrays["sem.grad"], axis=2)
        results.append(_gradient("sem", gradient, theirs))
    return results


def _gradient(case: str, actual: Any, expected: Any) -> Figure:
    return figures.relative(f"{case}: gradient", actual, expected, figures.GRADIENTS)


# ---------------------------------------------------------------------------- updates


def optim(folder: pathlib.Path, name: str) -> list[Figure]:
    """Learning rates of the five configurations, and SGD by itself."""
    meta, arrays = goldens.load(folder, name)
    results = []
    for theirs, expected in meta["lr"].items():
        config = released.config(theirs)
        rate = optimization.schedule(config.optim)
        actual = [float(rate(i)) for i in expected["iteration"]]
        rates = np.array(expected["lr_used_by_update_with_this_0_based_index"])
        errors = np.abs(actual - rates) / rates  # of each, the rates span decades
        results += [
            Figure(f"rate: {theirs}", errors.max(), figures.ROUNDING),
            figures.equal(
                f"updates: {theirs}", config.optim.steps, expected["max_iterations"]
            ),
        ]
    return results + _sgd(meta["sgd"], arrays)


def _sgd(settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> list[Figure]:
    frozen = np.array(settings["frozen_unchanged"], np.float32)
    optim = released.config("davis_2").optim
    with optim.unlocked():
        optim.update(
            {
                "learning_rate": settings["lr"],
                "momentum": settings["momentum"],
                "nesterov": settings["nesterov"],
                "weight_decay": settings["weight_decay"],
            }
        )
    params = {"a": arrays["sgd.a0"], "b": arrays["sgd.b0"], "frozen": frozen}
    tx = optimization.optimizer(optim, params, frozen=("frozen",))
    state = tx.init(params)
    results = []
    for step in range(sum(key.startswith("sgd.ga") for key in arrays)):
        gradient = {key: arrays[f"sgd.g{key}{step}"] for key in "ab"}
        gradient["frozen"] = np.ones_like(frozen)
        updates, state = tx.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        for key in "ab":
            expected = arrays[f"sgd.{key}{step + 1}"]
            results.append(
                figures.relative(
                    f"sgd: {key}{step + 1}", params[key], expected, figures.ROUNDING
                )
            )
    return [*results, figures.different("sgd: frozen", params["frozen"], frozen)]


def train_step(folder: pathlib.Path, name: str) -> list[Figure]:
    """Updates of a whole network, each from accumulated clips."""
    meta, arrays = goldens.load(folder, name)
    config = released.config(
        meta["base"],
        over=meta.get("over"),
        num_frames=meta["frames"],
        optim__schedule="constant",
        optim__schedule_options=ConfigDict(),
        optim__learning_rate=meta["lr"],
    )
    system, variables = released.load(config, salt=meta["salt"])
    theirs = released.their_layout(config)
    constants = {k: v for k, v in variables.items() if k != "params"}
    params = variables["params"]
    start = theirs(params)
    tx = optimization.optimizer(config.optim, params, frozen=system.frozen_modules())
    state = tx.init(params)

    @jax.jit
    def gradient_of(params, batch):
        keys = jax.random.split(jax.random.key(0), len(batch.valid))

        def loss(params):
            total, report, _ = system.loss({"params": params, **constants}, batch, keys)
            return total, report

        (_, report), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        return gradient, report.terms

    @jax.jit
    def update(gradients, state, params):
        mean = jax.tree.map(lambda *g: sum(g) / len(g), *gradients)
        updates, state = tx.update(mean, state, params)
        return mean, state, optax.apply_updates(params, updates)

    results = []
    for number, step in enumerate(meta["steps"], start=1):
        gradients = []
        bar = figures.LOSSES if number == 1 else figures.UPDATED_LOSSES
        for part in step["sub_iterations"]:
            gradient, terms = gradient_of(params, network.clip(meta, part["seed"]))
            gradients.append(gradient)
            results += network.losses(
                terms,
                system.loss_weights,
                part,
                bar=bar,
                prefix=f"update {number}: ",
            )
        mean, state, params = update(gradients, state, params)
        results += _update(number, step, start, theirs(params), theirs(mean))
        for key, value in theirs(params).items():
            expected = arrays.get(f"param_after{number}.{key}")
            if expected is not None:
                quantity = f"update {number}: {key}"
                value = _thinned(value)
                results.append(
                    figures.relative(quantity, value, expected, figures.ROUNDING)
                )
        if number == 1:
            first = theirs(mean)
    for key in meta["full_grads"]:
        value = _thinned(first[key])
        results.append(
            _network_gradient(f"gradient of {key}", value, arrays[f"grad.{key}"])
        )
    still = {key for key in start if key not in meta["steps"][0]["grad_norm"]}
    return [
        *results,
        figures.equal("without gradient", still, {*meta["params_without_grad"]}),
    ]


def _update(number, step, start, params, gradient) -> list[Figure]:
    """Norms of all gradients and of all changes so far."""
    norms = {
        key: _network_gradient(key, np.linalg.norm(gradient[key]), expected)
        for key, expected in step["grad_norm"].items()
    }
    changes = {
        key: _network_gradient(key, np.linalg.norm(params[key] - start[key]), expected)
        for key, expected in step["param_delta_norm_from_start"].items()
        if key in params
    }
    return [
        figures.of_each(f"update {number}: norms of gradients", norms),
        figures.of_each(f"update {number}: norms of changes", changes),
    ]


def _network_gradient(key: str, actual: Any, expected: Any) -> Figure:
    return figures.relative(key, actual, expected, figures.NETWORK_GRADIENTS)


def _thinned(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1)[:: max(1, values.size // 2000)]
