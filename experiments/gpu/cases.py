"""What a case is, how large its work, and what is noted of it."""

from typing import Any, NamedTuple

from stemseg_jax import benchmark

Figures = dict[str, Any]


class Case(NamedTuple):
    """One process, with a peak of memory of its own."""

    kind: str  # of `MEASURES`
    config: str = ""
    form: str = ""  # of 3-D convolutions, of the Lovász hinge, or a sort
    dtype: str = ""
    remat: bool = False
    clips: int = 1

    @property
    def name(self) -> str:
        words = [self.kind, self.config, self.form, self.dtype, "remat" * self.remat]
        words += [f"{self.clips} clips"] * (self.clips > 1)
        return "-".join(filter(None, words)).replace(" ", "_")


class Size(NamedTuple):
    """How large the work is."""

    variant: str  # of the configs
    repeats: int
    side: int  # of the matrices whose product is the peak
    points: int  # of an instance
    layers: tuple[tuple[int, ...], ...]  # T, h, w, channels in and out
    frames: int  # of a video


REAL = Size(
    variant="",
    repeats=5,
    side=16_384,
    points=459_264,  # 8 x 184 x 312
    # Of the decoders of davis_stage2, finest first.
    layers=(
        (16, 184, 312, 256, 128),
        (16, 92, 156, 256, 128),
        (16, 46, 78, 256, 256),
        (16, 23, 39, 256, 256),
    ),
    frames=64,
)
SMALL = Size(
    variant="smoke",
    repeats=1,
    side=64,
    points=500,
    layers=((4, 6, 8, 3, 5),),
    frames=20,
)


def timer(size: Size) -> benchmark.Timer:
    return benchmark.Timer(None, repeats=size.repeats)  # table.py knows the peak


def figures(rows: list[benchmark.Row]) -> Figures:
    return {"rows": rows, "peak memory": benchmark.peak_memory()}
