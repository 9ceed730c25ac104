"""Grids, decoders and whole networks."""

import pathlib
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stemseg_jax.conversion import sources
from stemseg_jax.modules import heads, squeeze_expand
from stemseg_jax.ops import mixing, resize
from stemseg_jax.structures import ClipBatch
from tests import goldens
from tests.parity import figures, released
from tests.parity.figures import Figure


def grids(folder: pathlib.Path, name: str) -> list[Figure]:
    """What is added to embeddings, along each axis."""
    meta, arrays = goldens.load(folder, name)
    results = []
    for case in meta["cases"]:
        form = r"(\w+)_(\d+)x(\d+)x(\d+)_ts(.*)"
        mode, *size, scale = re.fullmatch(form, case["key"]).groups()
        grid = mixing.get(mode).grid(tuple(map(int, size)), float(scale))
        lines = np.concatenate([grid[:, 0, 0], grid[0, :, 0], grid[0, 0, :]])
        expected = arrays[case["key"]]
        results.append(
            figures.relative(case["key"], lines.T, expected, figures.ROUNDING)
        )
    return results


def decoders(folder: pathlib.Path, name: str) -> list[Figure]:
    """Each decoder with its outputs, on random features."""
    meta, arrays = goldens.load(folder, name)
    size = meta["frames"], meta["h"], meta["w"]
    pyramid = tuple(
        goldens.channels_last(level) for level in goldens.features(meta["seed"], *size)
    )
    width = meta.get("inter", (256, 256, 128, 128))
    spec = mixing.get(meta["mode"])
    own = meta["seed_head"]
    outputs = {"conv_embedding": spec.dimensions, "conv_variance": spec.bandwidths}
    outputs |= {} if own else {"conv_seediness": 1}
    head = heads.EmbeddingHead(
        meta["mode"], bounded=meta.get("tanh", True), seediness=not own
    )
    apply = _Decoder(meta, pyramid)
    maps, inner = apply("embedding_head", width, outputs, head)
    maps = _side_by_side(maps)
    results = [_activations("embedding", maps, arrays["embedding"])]
    if own:
        widths = meta.get("seed_inter", width)
        maps, _ = apply(
            "seediness_head", widths, {"conv_out": 1}, heads.SeedinessHead()
        )
        results.append(_activations("seediness", maps[..., None], arrays["seediness"]))
    if "semseg" in arrays:
        classes, foreground = meta["classes"], meta.get("fg", True)
        widths = meta.get("sem_inter", (256, 256, 128, 128))
        head = heads.SemanticHead(classes, foreground)
        outputs = {"conv_out": classes + foreground}
        maps, _ = apply("semseg_head", widths, outputs, head)
        maps = _side_by_side(maps)
        results.append(_activations("semseg", maps, arrays["semseg"]))
    for key in arrays:
        if key.startswith("mid."):
            actual = inner[key.rpartition(".")[2]]
            stride = actual.shape[-1] // arrays[key].shape[1]
            results.append(_activations(key, actual[..., ::stride], arrays[key]))
    return results


class _Decoder:
    """Runs a decoder and its head with the weights of the recipe."""

    def __init__(self, meta: dict[str, Any], pyramid: tuple[np.ndarray, ...]):
        self.meta, self.pyramid = meta, pyramid

    def __call__(self, prefix, widths, outputs, head):
        shapes = goldens.decoder_shapes(prefix, widths, outputs)
        tensors = goldens.state_dict(shapes, salt=self.meta["salt"])
        # The signs of a whole checkpoint, which a single decoder lacks.
        tensors.setdefault("embedding_head.time_scale", np.ones((), np.float32))
        variables = sources.convert(tensors, prefix).variables
        (body,) = (key for key in variables["params"] if key.endswith("decoder"))
        (top,) = (key for key in variables["params"] if key.endswith("head"))
        decoder = squeeze_expand.SqueezeExpandDecoder(
            num_frames=self.meta["frames"], channels=tuple(widths)
        )

        @jax.jit
        def run(params, constants, pyramid):
            x, inner = decoder.apply(
                {"params": params[body]}, pyramid, capture_intermediates=True
            )
            head_variables = {"params": params[top]}
            if top in constants:
                head_variables["constants"] = constants[top]
            return head.apply(head_variables, x), inner["intermediates"]

        maps, inner = run(variables["params"], variables["constants"], self.pyramid)
        return maps, _named_as_theirs(inner)


def _named_as_theirs(inner: dict[str, Any]) -> dict[str, jax.Array]:
    """Of the layers' outputs those that the fixtures have, by their names."""
    named = {}
    for name in sorted(inner.keys() - {"__call__"}):
        # Of a path's units the last one stays: its output is the path's.
        path = name.rsplit("_", 1)[0] if name.startswith("block") else name
        (named[path],) = inner[name]["__call__"]
    size = named["conv_16"].shape[1:4]
    return {**named, "upsample_32_to_16": resize.linear(named["block_32x"], size)}


def model(folder: pathlib.Path, name: str) -> list[Figure]:
    """Every stage of a network on one clip, and its losses on synthetic targets."""
    meta, arrays = goldens.load(folder, name)
    config = released.config(
        meta["base"],
        backbone=meta["backbone"],
        over=meta.get("over"),
        num_frames=meta["frames"],
    )
    system, variables = released.load(config, salt=meta["salt"])
    batch = clip(meta, meta["seed"])
    keys = jax.random.split(jax.random.key(0), len(batch.valid))

    @jax.jit
    def run(variables, batch):
        images = system.network.encoder.convention.normalise(batch.frames)
        maps, inner = system.network.apply(
            variables, images, capture_intermediates=True
        )
        _, report, _ = system.loss(variables, batch, keys)
        return maps, inner["intermediates"], report.terms

    maps, inner, terms = run(variables, batch)
    stages = {"stem": inner["body"]["stem"]["__call__"][0]}
    stages |= zip(("c2", "c3", "c4", "c5"), inner["body"]["__call__"][0], strict=True)
    levels = ("fpn4", "fpn8", "fpn16", "fpn32")
    stages |= zip(levels, inner["fpn"]["__call__"][0], strict=True)
    results = [figures.equal("pixels", int(batch.frames.sum()), meta["pixels_sum"])]
    for key, expected in arrays.items():
        stage, _, step = key.partition("_c")
        if stage in stages:
            actual = stages[stage][..., :: int(step)]
            cells = actual.shape[1] // expected.shape[2]  # the stem is thinned in space
            actual = actual[:, ::cells, ::cells]
            results.append(_activations(stage, actual, expected))
    embedding = _side_by_side((maps.embeddings, maps.log_bandwidths, maps.seediness))
    results.append(_activations("embedding map", embedding, arrays["embedding_map"]))
    if "semseg_logits" in arrays:
        logits = _side_by_side((maps.class_logits, maps.foreground_logits))
        expected = np.moveaxis(arrays["semseg_logits"], 2, 1)  # [1 T C h w] there
        results.append(_activations("semantic logits", logits, expected))
    return results + losses(terms, system.loss_weights, meta["losses"])


def clip(meta: dict[str, Any], seed: int) -> ClipBatch:
    """The synthetic clip of a seed, with its targets."""
    size = meta["frames"], meta["h"], meta["w"]
    categories = np.array(meta["cats"], np.int32)
    frames = goldens.pixels(seed, *size)[:, ::-1]  # RGB
    return ClipBatch(
        frames=jnp.asarray(goldens.channels_last(frames)[None]),
        masks=jnp.asarray(goldens.tubes(seed + 100, len(categories), *size)[None] > 0),
        valid=jnp.ones((1, len(categories)), bool),
        categories=jnp.asarray(categories[None]),
        ignore=jnp.asarray(goldens.ignore_block(seed + 101, *size)[None] > 0),
        intrinsics=jnp.full((1, meta["frames"], 3, 3), jnp.nan),
    )


TERMS = {
    "lovasz": "others/lovasz_loss",
    "smoothness": "others/variance_smoothness_loss",
    "seediness": "others/seediness_loss",
    "semantic": "optimization_losses/semantic_segmentation_loss",
    "foreground": "optimization_losses/foreground",
}


def losses(
    terms: dict[str, Any],
    weights: Any,
    expected: dict[str, float],
    *,
    bar: float = figures.LOSSES,
    prefix: str = "",
) -> list[Figure]:
    """Each term, and the weighted embedding loss."""
    weights = dict(weights)
    results = []
    for term, value in terms.items():
        if TERMS[term].startswith("optimization_losses"):
            value = weights[term] * value
        theirs = expected[TERMS[term]]
        results.append(figures.relative(f"{prefix}loss {term}", value, theirs, bar))
    parts = ("lovasz", "smoothness", "seediness")
    total = sum(weights[part] * terms[part] for part in parts)
    theirs = expected["optimization_losses/embedding_loss"]
    return [*results, figures.relative(f"{prefix}loss embedding", total, theirs, bar)]


def _side_by_side(maps: Any) -> jax.Array:
    """Maps [B T h w C] or [B T h w] -> [B T h w channels]."""
    maps = [x for x in maps if x is not None]
    return jnp.concatenate([x if x.ndim == 5 else x[..., None] for x in maps], axis=-1)


def _activations(name: str, actual: Any, expected: np.ndarray) -> Figure:
    expected = goldens.channels_last(expected)
    return figures.relative(name, actual, expected, figures.ACTIVATIONS)
