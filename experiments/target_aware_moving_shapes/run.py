"""Target-aware discovery on moving_shapes: its phases and its ablations. README.md."""

import functools
from collections.abc import Mapping

from ml_collections import ConfigDict

from configs import target_aware, target_aware_moving_shapes
from stemseg_jax import choices, studies
from stemseg_jax.studies import Row

STEPS = {"proposals": 4_000, "refiner": 1_000, "embedding": 500}  # of each phase
AP = ("AP", "AP50", "AP75")


def rows(steps: Mapping[str, int]) -> dict[str, Row]:
    """The phases, each from the one before, and what is left out of their tracks."""

    def row(phase: str, *, weights: str = "", after: str = "", starts=str, **changes):
        config = functools.partial(config_of, phase)
        return Row(
            config, {"optim.steps": steps[phase], **changes}, weights, after, starts
        )

    def without(part: str) -> Row:
        return row("refiner", weights="all", **{f"tracking.{part}": False})

    return {
        "proposals": row("proposals"),
        "proposals_no_guidance": row("proposals", **{"model.guidance": False}),
        "all": row(
            "refiner", after="proposals", starts=target_aware_moving_shapes.starts
        ),
        "no_verification": without("verification"),
        "no_memory": without("memory_update"),
        "no_refiner": without("refiner"),
        "learnt_embedding": row("embedding", after="all"),
    }


def config_of(phase: str, variant: str) -> ConfigDict:
    """That of a phase; `variant` "smoke" makes all small."""
    config = target_aware_moving_shapes.get_config(phase)
    if variant:
        choices.known("--variant", variant, ("smoke",))
        target_aware.smoke(config.unlock())
    return config.lock()


def main():
    parser = studies.arguments(__doc__, rows(STEPS))
    for phase, steps in STEPS.items():
        parser.add_argument(f"--{phase}", type=int, default=steps, help="updates")
    options = parser.parse_args()
    steps = {phase: getattr(options, phase) for phase in STEPS}
    studies.write(studies.table(rows(steps), figures, options), options.output)


def figures(result: studies.Result) -> studies.Figures:
    if "AP" in result.scores:
        return {name: float(result.scores[name]) for name in AP}
    return studies.masks_and_identities(result)


if __name__ == "__main__":
    main()
