"""Whose weights a file holds, what our network calls them, and what they expect to see.

The published files that a STEm-Seg network can start from. Which of them a file is, is
found out from the names in it. Kernels run (out, in, *space) there and (*space, in,
out) here; nothing else is changed.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conventions:
    """What weights take for granted.

    Attributes:
        order: Of the colour channels, "rgb" or "bgr".
        mean: Grey levels (of 255) that are subtracted, in that order.
        std: Grey levels that the rest is divided by.
        stride_in_1x1: Whether the first 1x1 convolution of a bottleneck carries the
            stride, or the 3x3 does.
        norm_epsilon: Added to the variances of the frozen batch norms.
        free_dim_std: Of the embedding's free dimensions, where the file states it.
    """

    order: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    stride_in_1x1: bool
    norm_epsilon: float
    free_dim_std: float | None = None

    def options(self) -> dict[str, Any]:
        """The same as options of `config.model`."""
        stated = {name: getattr(self, name) for name in OWNERS if name != "pixels"}
        pixels = {"order": self.order, "mean": self.mean, "std": self.std}
        return {"pixels": pixels} | {k: v for k, v in stated.items() if v is not None}


# Options of `config.model` that belong to weights, and the module they come with.
OWNERS = {
    "pixels": "body",
    "stride_in_1x1": "body",
    "norm_epsilon": "body",
    "free_dim_std": "embedding_head",
}


class Loaded(NamedTuple):
    """Weights under our names.

    `parts` are the modules of the network that such a file holds; all others are none
    of its business. Empty: it holds everything.
    """

    origin: str  # the file and whose it is
    variables: dict[str, Any]  # {"params": ..., "constants": ...}
    names: dict[str, str]  # "params/..." -> the file's own name
    unknown: tuple[str, ...]  # names without a place in any of our networks
    parts: tuple[str, ...]
    conventions: Conventions | None  # None: the config says
    config: dict[str, Any] | None = None  # of a release


class Source(NamedTuple):
    """A family of files.

    A module's name, to the pattern of the first rule that matches it whole, becomes the
    rule's replacement. `unused` matches names that have no place here and none missing.
    """

    title: str
    sign: str  # a name that only such files hold
    rules: tuple[tuple[str, str | Callable[[re.Match], str]], ...]
    conventions: Conventions
    parts: tuple[str, ...] = ("body", "fpn")
    unused: str = r"(rpn|roi_heads|fc)\..*|.*\.num_batches_tracked"


MASK_RCNN = Conventions(
    order="bgr",
    mean=(102.9801, 115.9465, 122.7717),
    std=(1.0, 1.0, 1.0),
    stride_in_1x1=True,
    norm_epsilon=0.0,
)
TORCHVISION = Conventions(
    order="rgb",
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
    stride_in_1x1=False,
    norm_epsilon=1e-5,
)
DETECTRON2 = Conventions(
    order="bgr",
    mean=(103.53, 116.28, 123.675),
    std=(1.0, 1.0, 1.0),
    stride_in_1x1=True,
    norm_epsilon=1e-5,
)
EFFICIENTNET_LITE = Conventions(
    order="rgb",
    mean=(127.0, 127.0, 127.0),
    std=(128.0, 128.0, 128.0),
    stride_in_1x1=False,
    norm_epsilon=1e-3,
)
DEEPLAB_MOBILENET = Conventions(
    order="rgb",
    mean=(127.5, 127.5, 127.5),
    std=(127.5, 127.5, 127.5),
    stride_in_1x1=False,
    norm_epsilon=0.0,  # folded into the slopes
)
DETECTRON2_RESNEXT_STD = (57.375, 57.12, 58.395)


def _shifted(form: str, by: int) -> Callable[[re.Match], str]:
    """`form` with the first number of the match, counted from elsewhere."""
    return lambda match: form.format(int(match[1]) + by, *match.groups()[1:])


_BODY = r"(?:backbone\.)?(?:body\.)?"
_RESNET = (
    (_BODY + r"(?:stem\.)?conv1", "body/stem/conv"),
    (_BODY + r"(?:stem\.)?bn1", "body/stem/norm"),
    (_BODY + r"layer(\d)\.(\d+)\.conv(\d)", r"body/stage\1_block\2/conv\3"),
    (_BODY + r"layer(\d)\.(\d+)\.bn(\d)", r"body/stage\1_block\2/norm\3"),
    (_BODY + r"layer(\d)\.(\d+)\.downsample\.0", r"body/stage\1_block\2/shortcut_conv"),
    (_BODY + r"layer(\d)\.(\d+)\.downsample\.1", r"body/stage\1_block\2/shortcut_norm"),
)
_FPN = (
    (r"(?:backbone\.)?fpn\.fpn_inner(\d)", r"fpn/lateral\1"),
    (r"(?:backbone\.)?fpn\.fpn_layer(\d)", r"fpn/output\1"),
)
# Newer torchvision wraps each convolution of its FPN once more.
_TORCHVISION_FPN = (
    (r"backbone\.fpn\.inner_blocks\.(\d)(?:\.0)?", _shifted("fpn/lateral{}", 1)),
    (r"backbone\.fpn\.layer_blocks\.(\d)(?:\.0)?", _shifted("fpn/output{}", 1)),
)
_STAGE = r"backbone\.bottom_up\.res(\d)\.(\d+)\."
_DETECTRON2 = (
    (r"backbone\.bottom_up\.stem\.conv1", "body/stem/conv"),
    (r"backbone\.bottom_up\.stem\.conv1\.norm", "body/stem/norm"),
    (_STAGE + r"conv(\d)", _shifted("body/stage{}_block{}/conv{}", -1)),
    (_STAGE + r"conv(\d)\.norm", _shifted("body/stage{}_block{}/norm{}", -1)),
    (_STAGE + r"shortcut", _shifted("body/stage{}_block{}/shortcut_conv", -1)),
    (_STAGE + r"shortcut\.norm", _shifted("body/stage{}_block{}/shortcut_norm", -1)),
    (r"backbone\.fpn_lateral(\d)", _shifted("fpn/lateral{}", -1)),
    (r"backbone\.fpn_output(\d)", _shifted("fpn/output{}", -1)),
)

_NUMBERED = r"_blocks\.(\d+)\."
_EFFICIENTNET = (
    (r"_conv_stem", "body/stem/conv"),
    (r"_bn0", "body/stem/norm"),
    (
        _NUMBERED + r"_(expand|depthwise|project)_conv",
        _shifted("body/block{:02}/{}", 0),
    ),
    (_NUMBERED + r"_bn0", _shifted("body/block{:02}/expand_norm", 0)),
    (_NUMBERED + r"_bn1", _shifted("body/block{:02}/depthwise_norm", 0)),
    (_NUMBERED + r"_bn2", _shifted("body/block{:02}/project_norm", 0)),
)
_EXPANDED = r"MobilenetV2/expanded_conv(?:_(\d+))?/(expand|depthwise|project)"
_FOLDED = r"/BatchNorm/FusedBatchNorm"


def _mobilenet(form: str) -> Callable[[re.Match], str]:
    """`form` with the block's number, which the first block has none of, and layer."""
    return lambda match: form.format(int(match[1] or 0), match[2])


_DEEPLAB = (
    (r"MobilenetV2/Conv/Conv2D", "body/stem/conv"),
    (r"MobilenetV2/Conv" + _FOLDED, "body/stem/norm"),
    (_EXPANDED + "(?:/Conv2D)?", _mobilenet("body/block{:02}/{}")),
    (_EXPANDED + _FOLDED, _mobilenet("body/block{:02}/{}_norm")),
)


def _decoder(theirs: str, decoder: str, head: str) -> tuple[tuple[str, Any], ...]:
    """Rules for a decoder with its outputs: one module there, two here.

    A path there lists convolution, norm, ReLU and pooling of its units one after the
    other, so that unit i is at 4i.
    """

    def unit(part: str) -> Callable[[re.Match], str]:
        return lambda match: f"{decoder}/block_{match[1]}x_{int(match[2]) // 4}/{part}"

    return (
        (theirs + r"\.block_(\d+)x\.([048])", unit("conv")),
        (theirs + r"\.block_(\d+)x\.([159])", unit("norm")),
        (theirs + r"\.conv_(\d+)", decoder + r"/conv_\1"),
        (theirs + r"\.(conv_[a-z]+)", head + r"/\1"),
        (theirs, head),
    )


SOURCES = (
    Source(
        title="a STEm-Seg checkpoint",
        sign=r"embedding_head\..*",
        rules=(
            *_RESNET,
            *_FPN,
            *_decoder("embedding_head", "embedding_decoder", "embedding_head"),
            *_decoder("seediness_head", "own_seediness_decoder", "seediness_head"),
            *_decoder("semseg_head", "semantic_decoder", "semantic_head"),
        ),
        conventions=MASK_RCNN,
        parts=(),
        unused=r"embedding_loss_criterion\.free_dim_bandwidths",
    ),
    Source(
        title="a detectron2 model",
        sign=r"backbone\.bottom_up\..*",
        rules=_DETECTRON2,
        conventions=DETECTRON2,
        unused=r"(proposal_generator|roi_heads)\..*|pixel_(mean|std)",
    ),
    Source(
        title="a Mask R-CNN of maskrcnn-benchmark",
        sign=r"(backbone\.)?body\.stem\..*",
        rules=(*_RESNET, *_FPN),
        conventions=MASK_RCNN,
    ),
    Source(
        title="a torchvision Mask R-CNN",
        sign=r"backbone\.body\..*",
        rules=(*_RESNET, *_TORCHVISION_FPN),
        # torchvision sets it to 0 for its published detection weights.
        conventions=dataclasses.replace(TORCHVISION, norm_epsilon=0.0),
    ),
    Source(
        title="a torchvision ResNet",
        sign=r"layer1\.0\.conv1\.weight",
        rules=_RESNET,
        conventions=TORCHVISION,
        parts=("body",),
    ),
    Source(
        title="an EfficientNet-Lite",
        sign=r"_conv_stem\.weight",
        rules=_EFFICIENTNET,
        conventions=EFFICIENTNET_LITE,
        parts=("body",),
        unused=r"(_conv_head|_bn1|_fc)\..*|.*\.num_batches_tracked",
    ),
    Source(
        title="a DeepLab of MobileNetV2",
        sign=r"MobilenetV2/Conv/Conv2D/merged_input",
        rules=_DEEPLAB,
        conventions=DEEPLAB_MOBILENET,
        parts=("body",),
        unused=r"(?!MobilenetV2/).*|.*/(SpaceToBatchND|BatchToSpaceND)/.*",
    ),
)


def convert(tensors: Mapping[str, np.ndarray], file: str) -> Loaded:
    """Finds out whose weights these are and brings them under our names.

    Args:
        tensors: A flat state dict, as the file has it.
        file: Its name, for messages.

    Raises:
        ValueError: None of the known sources has such names.
    """
    tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    source = _recognise(tensors, file)
    flat, names, unknown = {}, {}, []
    for name, tensor in tensors.items():
        places = _places(source, name, tensor, tensors)
        flat |= places
        names |= dict.fromkeys(places, name)
        if not places and not re.fullmatch(source.unused, name):
            unknown.append(name)
    return Loaded(
        origin=f"{file} ({source.title})",
        variables=traverse_util.unflatten_dict(flat, sep="/"),
        names=names,
        unknown=tuple(unknown),
        parts=source.parts,
        conventions=_conventions(source, tensors),
    )


def _recognise(tensors: Mapping[str, np.ndarray], file: str) -> Source:
    for source in SOURCES:
        if any(re.fullmatch(source.sign, name) for name in tensors):
            return source
    known = "; ".join(source.title for source in SOURCES)
    raise ValueError(
        f"{file} holds weights of an unknown network; its names begin with "
        f"{sorted(tensors)[:3]}. Known are: {known}."
    )


_NORM = {
    "weight": "scale",
    "bias": "bias",
    "running_mean": "mean",
    "running_var": "var",
}


def _places(
    source: Source, name: str, tensor: np.ndarray, tensors: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Values by their paths in our tree; none if it has no place there."""
    module, separator, leaf = name.rpartition("/" if "/" in name else ".")
    place = _module(source, module)
    if place is None:
        return {}
    if separator == "/":
        return _places_of_graph(place, leaf, tensor, f"{module}/Scaled" in tensors)
    if f"{module}.running_var" in tensors and leaf in _NORM:
        return {f"constants/{place}/{_NORM[leaf]}": tensor}
    if leaf == "time_scale":
        return {f"constants/{place}/{leaf}": tensor}
    if leaf == "bias":
        return {f"params/{place}/bias": tensor}
    if leaf == "weight" and tensor.ndim == 1:
        return {f"params/{place}/scale": tensor}
    if leaf == "weight":
        kernel = tensor.transpose(*range(2, tensor.ndim), 1, 0)
        return {f"params/{place}/kernel": kernel}
    return {}


def _places_of_graph(
    place: str, leaf: str, tensor: np.ndarray, scaled: bool
) -> dict[str, np.ndarray]:
    """The same for a TensorFlow graph whose batch norms were folded for inference.

    Args:
        scaled: Whether the slopes of the batch norm are stated; else the kernel before
            it has them.
    """
    if leaf == "merged_input":
        return {f"params/{place}/kernel": tensor}
    if leaf == "depthwise_weights":
        return {f"params/{place}/kernel": tensor.transpose(0, 1, 3, 2)}
    if leaf == "Scaled":
        return {f"constants/{place}/scale": tensor}
    if leaf == "Offset":
        one, zero = np.ones_like(tensor), np.zeros_like(tensor)
        stated = {"bias": tensor, "mean": zero, "var": one}
        unstated = {} if scaled else {"scale": one}
        return {
            f"constants/{place}/{name}": value
            for name, value in (stated | unstated).items()
        }
    return {}


def _module(source: Source, module: str) -> str | None:
    for pattern, replacement in source.rules:
        match = re.fullmatch(pattern, module)
        if match:
            return (
                replacement(match)
                if callable(replacement)
                else match.expand(replacement)
            )
    return None


def _conventions(source: Source, tensors: Mapping[str, np.ndarray]) -> Conventions:
    """The source's conventions, and what the tensors themselves say."""
    changes: dict[str, Any] = {}
    if any(_is_grouped(name, tensor) for name, tensor in tensors.items()):
        changes["stride_in_1x1"] = False  # every published ResNeXt
        if source.conventions is DETECTRON2:
            changes["std"] = DETECTRON2_RESNEXT_STD
    for field, name in (("mean", "pixel_mean"), ("std", "pixel_std")):
        if name in tensors:
            changes[field] = tuple(float(value) for value in np.ravel(tensors[name]))
    free = tensors.get("embedding_loss_criterion.free_dim_bandwidths")
    if free is not None:
        # Written as 0.3, stored as the bandwidth 11.111110687.
        changes["free_dim_std"] = round(float(np.ravel(free)[0]) ** -0.5, 6)
    return dataclasses.replace(source.conventions, **changes)


def _is_grouped(name: str, tensor: np.ndarray) -> bool:
    return name.endswith(".0.conv2.weight") and tensor.shape[1] < tensor.shape[0]
