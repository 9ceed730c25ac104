"""The classes of the datasets, and which class of one set stands for one of another.

Numbers are those of the sets' own annotation and result files.
"""

import types
from collections.abc import Mapping

from stemseg_jax import choices
from stemseg_jax.data.datasets import scenes, street


def _numbered(names: str) -> dict[int, str]:
    return dict(enumerate(names.split(), start=1))


OBJECT = {1: "object"}  # class-agnostic, as for DAVIS

YTVIS = _numbered("""
    person giant_panda lizard parrot skateboard sedan ape dog snake monkey
    hand rabbit duck cat cow fish train horse turtle bear
    motorbike giraffe leopard fox deer owl surfboard airplane truck zebra
    tiger elephant snowboard boat shark mouse frog eagle earless_seal tennis_racket
""")

YTVIS21 = _numbered("""
    airplane bear bird boat car cat cow deer dog duck
    earless_seal elephant fish flying_disc fox frog giant_panda giraffe horse leopard
    lizard monkey motorbike mouse parrot person rabbit shark skateboard snake
    snowboard squirrel surfboard tennis_racket tiger train truck turtle whale zebra
""")

# The files spell the last one "Vehical".
OVIS = _numbered("""
    Person Bird Cat Dog Horse Sheep Cow Elephant Bear Zebra
    Giraffe Poultry Giant_panda Lizard Parrot Monkey Rabbit Tiger Fish Turtle
    Bicycle Motorcycle Airplane Boat Vehicle
""")

KITTI_MOTS = {1: "car", 2: "pedestrian"}  # 10: ignore region

# 80 of 90 numbers are in use.
COCO = {
    **{1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane", 6: "bus"},
    **{7: "train", 8: "truck", 9: "boat", 10: "traffic light", 11: "fire hydrant"},
    **{13: "stop sign", 14: "parking meter", 15: "bench", 16: "bird", 17: "cat"},
    **{18: "dog", 19: "horse", 20: "sheep", 21: "cow", 22: "elephant", 23: "bear"},
    **{24: "zebra", 25: "giraffe", 27: "backpack", 28: "umbrella", 31: "handbag"},
    **{32: "tie", 33: "suitcase", 34: "frisbee", 35: "skis", 36: "snowboard"},
    **{37: "sports ball", 38: "kite", 39: "baseball bat", 40: "baseball glove"},
    **{41: "skateboard", 42: "surfboard", 43: "tennis racket", 44: "bottle"},
    **{46: "wine glass", 47: "cup", 48: "fork", 49: "knife", 50: "spoon", 51: "bowl"},
    **{52: "banana", 53: "apple", 54: "sandwich", 55: "orange", 56: "broccoli"},
    **{57: "carrot", 58: "hot dog", 59: "pizza", 60: "donut", 61: "cake", 62: "chair"},
    **{63: "couch", 64: "potted plant", 65: "bed", 67: "dining table", 70: "toilet"},
    **{72: "tv", 73: "laptop", 74: "mouse", 75: "remote", 76: "keyboard"},
    **{77: "cell phone", 78: "microwave", 79: "oven", 80: "toaster", 81: "sink"},
    **{82: "refrigerator", 84: "book", 85: "clock", 86: "vase", 87: "scissors"},
    **{88: "teddy bear", 89: "hair drier", 90: "toothbrush"},
}

PASCAL_VOC = _numbered("""
    aeroplane bicycle bird boat bottle bus car cat chair cow
    diningtable dog horse motorbike person pottedplant sheep sofa train tvmonitor
""")

CATEGORIES = {
    "object": OBJECT,
    "ytvis": YTVIS,
    "ytvis21": YTVIS21,
    "ovis": OVIS,
    "kitti_mots": KITTI_MOTS,
    "coco": COCO,
    "pascal_voc": PASCAL_VOC,
    "moving_shapes": scenes.CATEGORIES,
    "layered_world": street.CATEGORIES,
}

# (from, to): name -> name. What is not named is left out: it becomes background.
MAPS = {
    # STEm-Seg's choice for DAVIS: 29 classes of things that move or are moved.
    ("coco", "object"): dict.fromkeys(
        (
            *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train"),
            *("truck", "boat", "bird", "cat", "dog", "horse", "sheep", "cow"),
            *("elephant", "bear", "zebra", "giraffe", "backpack", "frisbee", "skis"),
            *("snowboard", "sports ball", "kite", "baseball bat", "skateboard"),
            *("surfboard", "tennis racket"),
        ),
        "object",
    ),
    ("pascal_voc", "object"): dict.fromkeys(
        (
            *("aeroplane", "bicycle", "bird", "boat", "bus", "car", "cat", "cow"),
            *("dog", "horse", "motorbike", "person", "sheep", "train"),
        ),
        "object",
    ),
    # STEm-Seg, YouTube-VIS. Bicycles count as motorbikes, which have no other source.
    ("coco", "ytvis"): {
        **{"person": "person", "bicycle": "motorbike", "car": "sedan"},
        **{"motorcycle": "motorbike", "airplane": "airplane", "train": "train"},
        **{"truck": "truck", "boat": "boat", "cat": "cat", "dog": "dog"},
        **{"horse": "horse", "cow": "cow", "elephant": "elephant", "bear": "bear"},
        **{"zebra": "zebra", "giraffe": "giraffe", "snowboard": "snowboard"},
        **{"skateboard": "skateboard", "surfboard": "surfboard"},
        **{"tennis racket": "tennis_racket"},
    },
    ("pascal_voc", "ytvis"): {
        **{"aeroplane": "airplane", "boat": "boat", "car": "sedan", "cat": "cat"},
        **{"cow": "cow", "dog": "dog", "horse": "horse", "motorbike": "motorbike"},
        **{"person": "person", "train": "train"},
    },
    # The next two as in public code for these sets (VITA, DVIS, MDQE).
    ("coco", "ytvis21"): {
        **{"person": "person", "bicycle": "motorbike", "car": "car"},
        **{"motorcycle": "motorbike", "airplane": "airplane", "train": "train"},
        **{"truck": "truck", "boat": "boat", "bird": "bird", "cat": "cat"},
        **{"dog": "dog", "horse": "horse", "cow": "cow", "elephant": "elephant"},
        **{"bear": "bear", "zebra": "zebra", "giraffe": "giraffe"},
        **{"frisbee": "flying_disc", "skis": "snowboard", "snowboard": "snowboard"},
        **{"skateboard": "skateboard", "surfboard": "surfboard"},
        **{"tennis racket": "tennis_racket"},
    },
    # Birds are left out: OVIS has three classes of them, Bird, Poultry and Parrot.
    ("coco", "ovis"): {
        **{"person": "Person", "bicycle": "Bicycle", "car": "Vehicle"},
        **{"motorcycle": "Motorcycle", "airplane": "Airplane", "bus": "Vehicle"},
        **{"truck": "Vehicle", "boat": "Boat", "cat": "Cat", "dog": "Dog"},
        **{"horse": "Horse", "sheep": "Sheep", "cow": "Cow", "elephant": "Elephant"},
        **{"bear": "Bear", "zebra": "Zebra", "giraffe": "Giraffe"},
    },
}

# Mapillary Vistas, by the names of its config files; v2.0 splits some of v1.2.
MAPILLARY_TO_KITTI_MOTS = {
    "object--vehicle--car": "car",
    "human--person": "pedestrian",
    "human--person--individual": "pedestrian",
}
# Close to the two, or several of them at once: neither instance nor background.
MAPILLARY_IGNORED = {
    "human--person--person-group",
    "human--rider--bicyclist",
    "human--rider--motorcyclist",
    "human--rider--other-rider",
    "object--vehicle--bicycle",
    "object--vehicle--bus",
    "object--vehicle--caravan",
    "object--vehicle--motorcycle",
    "object--vehicle--on-rails",
    "object--vehicle--other-vehicle",
    "object--vehicle--trailer",
    "object--vehicle--truck",
    "object--vehicle--vehicle-group",
    "object--vehicle--wheeled-slow",
}


def mapping(
    source: str,
    target: str | None,
    *,
    also: Mapping[str, str] = types.MappingProxyType({}),
) -> dict[int, int]:
    """The number in `target` of each number in `source` that has one there.

    Args:
        also: Name in `source` -> name in `target`, in addition to the map's own.

    Raises:
        ValueError: There is no such map, or `also` names a class that is not there.
    """
    if target in (None, source) and not also:
        return {number: number for number in CATEGORIES[source]}
    if (source, target) not in MAPS:
        known = sorted(to for origin, to in MAPS if origin == source)
        raise ValueError(
            f"categories={target!r}: {source} has no map onto it; known: "
            f"{', '.join([source, *known])}."
        )
    number_of = {name: number for number, name in CATEGORIES[target].items()}
    for side, given in ((source, also.keys()), (target, also.values())):
        if unknown := set(given) - set(CATEGORIES[side].values()):
            raise ValueError(
                f"also={dict(also)}: {side} has no {', '.join(sorted(unknown))}; it "
                f"has {', '.join(sorted(CATEGORIES[side].values()))}."
            )
    names = {**MAPS[source, target], **also}
    return {
        number: number_of[names[name]]
        for number, name in CATEGORIES[source].items()
        if name in names
    }


def names(source: str, target: str | None) -> Mapping[int, str]:
    """The classes of a set read with `categories=target`."""
    return CATEGORIES[target or source]


def of_model(target: str, num_classes: int) -> Mapping[int, str]:
    """What a model calls its classes; empty if they have no names.

    Args:
        target: A set of this table, or empty.
        num_classes: Outputs of the model, background included; 0: it tells none apart.

    Raises:
        ValueError: The set is unknown or has another number of classes.
    """
    if not target:
        return {}
    names = CATEGORIES[choices.known("model.categories", target, CATEGORIES)]
    expected = max(names) + 1
    if num_classes != expected:
        raise ValueError(
            f"model.num_classes={num_classes}, but model.categories={target!r} needs "
            f"{expected}, background included. Classes without names: "
            "--config.model.categories=''."
        )
    return CATEGORIES[target]
