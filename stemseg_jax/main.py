"""The command line: flags and dispatch.

python -m stemseg_jax.main --config=configs/ytvis.py --workdir=runs/ytvis
"""

import os
import pathlib
import re
import shlex
import sys

from absl import app, flags, logging
from ml_collections import ConfigDict, config_dict, config_flags

from stemseg_jax import ranges

MODES = {
    "train": "train --config into --workdir, or go on there",
    "evaluate": "score --checkpoint on the config's dataset",
    "predict": "label the videos of --input",
    "demo": "train, score and show a small model on built-in data",
    "report": "one page of HTML to look at, of the run or the predictions in --input",
    "score": "score --results files of any method",
    "track_masks": "link masks of single frames, --input, that any method found",
    "check_data": "look for faults in the folder --input",
    "show_data": "draw what the network is fed",
    "pack": "pack the config's datasets into ArrayRecord files",
    "export_weights": "write --checkpoint as .safetensors",
    "export": "write the network of --checkpoint as StableHLO",
    "benchmark": "time each stage on its own",
}
SHARED = ("train", "evaluate")  # by several hosts
BESIDE = pathlib.Path(__file__).parents[1]  # where configs/ lies, in a clone or not
FED = ("train", "demo", "show_data", "benchmark")  # those with training clips

_CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="A file of configs/, e.g. configs/ytvis.py[:smoke]."
)
_overrides: list[str] = []  # of the config that a checkpoint carries
_MODE = flags.DEFINE_enum(
    "mode", "train", list(MODES), "; ".join(f"{k}: {v}" for k, v in MODES.items())
)
_WORKDIR = flags.DEFINE_string("workdir", None, "The run's folder.")
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    None,
    "A run's folder, .safetensors, .pth or .pkl; predict: without it and --config the "
    "weights that come with stemseg_jax, 'real', for non-commercial research.",
)
_INPUT = flags.DEFINE_multi_string(
    "input",
    None,
    "predict: video file, folder of frames or videos, or glob, as often as you like; "
    "check_data: a folder; track_masks: a folder of palette images or a COCO file; "
    "report: the folder of a run, or one that predict wrote.",
)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "Where predictions (default: predicted/), pictures, or the report (default: "
    "report.html in --input) go.",
)
_OVERWRITE = flags.DEFINE_bool(
    "overwrite", False, "predict: label anew what the same weights labelled before."
)
_OUTPUTS = flags.DEFINE_list(
    "outputs",
    ["masks", "tracks", "overlay"],
    "predict: what is written of masks, tracks, overlay, panels, depth, side_by_side "
    "(with --ground_truth), cutouts, davis, youtube_vis and mots.",
)
_START = flags.DEFINE_string(
    "start", "0", "predict: from this time on, as 12.5 or 1:30."
)
_END = flags.DEFINE_string("end", None, "predict: up to this time.")
_STRIDE = flags.DEFINE_integer("stride", 1, "predict: each n-th frame alone.")
_FPS = flags.DEFINE_float(
    "fps",
    None,
    "predict: at most so many frames a second; of images, how many they are.",
)
_MIN_SCORE = flags.DEFINE_float(
    "min_score", None, "predict: tracks below it are left out (default: the config's)."
)
_MAX_TRACKS = flags.DEFINE_integer("max_tracks", 254, "predict: of a video, at most.")
_SHOTS = flags.DEFINE_bool(
    "shots", None, "predict: objects end where one shot is cut to the next."
)
_REJOIN = flags.DEFINE_float(
    "rejoin", None, "predict: seconds after which a lost object may be found again."
)
_VIDEOS = flags.DEFINE_integer(
    "videos", 12, "report: so many are shown, the worst first."
)
_TASK = flags.DEFINE_string(
    "task",
    None,
    "davis19, davis16, ytvis, ovis, proposals (frame by frame, from files of ytvis), "
    "kitti_mots, kitti_mots_cars or mots_challenge.",
)
_GROUND_TRUTH = flags.DEFINE_string(
    "ground_truth",
    None,
    "score, track_masks: the annotations; predict: label maps to show beside.",
)
_LINK = flags.DEFINE_enum(
    "link",
    "overlap",
    ["overlap", "flow", "looks"],
    "track_masks: by IoU with an object's last mask, by that mask moved by the optical "
    "flow, or by what crops look like to the backbone of --checkpoint.",
)
_FRAMES = flags.DEFINE_string(
    "frames", None, "track_masks: the videos' frames, for flow and looks."
)
_LISTING = flags.DEFINE_string(
    "listing", None, "track_masks: the COCO file that numbers the images of results."
)
_RESULTS = flags.DEFINE_multi_string(
    "results", None, "score: result files; given twice, the two are compared."
)
_ALSO_AT = flags.DEFINE_list(
    "also_at", [], "score: height,width at which MOTS is scored, too, e.g. 192,640."
)
_HALF = flags.DEFINE_bool(
    "half", False, "export_weights: values as float16, half the size."
)
_PLATFORMS = flags.DEFINE_list(
    "platforms", ["cpu", "cuda", "tpu"], "export: what the network is to run on."
)
_SIZE = flags.DEFINE_list(
    "size",
    [],
    "export: height,width or batch,height,width, if they are not to be free.",
)
_JSON = flags.DEFINE_string("json", None, "Where to write every figure in full.")
_HOSTS = flags.DEFINE_string(
    "hosts",
    "",
    "train, evaluate: of how many processes this is one, or 'auto': as the cluster "
    "says. A step of SLURM of several tasks is known without it.",
)
_HOST = flags.DEFINE_integer("host", None, "Which of --hosts this is, from 0.")
_COORDINATOR = flags.DEFINE_string(
    "coordinator", "", "HOST:PORT of --host=0, the same for all."
)


def main(argv: list[str]) -> int | None:
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected argument {argv[1]!r}; options start with --.")
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.INFO)
    # Our own messages; orbax reports each of its threads.
    own = str(pathlib.Path(__file__).parent)
    logging.get_absl_handler().addFilter(lambda r: r.pathname.startswith(own))
    try:
        return dispatch(_MODE.value)
    except (ValueError, FloatingPointError, OSError, MemoryError) as error:
        # What a user can cause, said once and without a stack; --verbosity=1 shows it.
        logging.debug("", exc_info=True)
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        if (jax := sys.modules.get("jax")) and jax.distributed.is_initialized():
            os._exit(1)  # JAX would wait for the other hosts, which wait for this one
        return 1


def dispatch(mode: str) -> int | None:
    """Runs one script. Imported here, so that scoring files need not wait for jax."""
    if _overrides and mode in ("score", "check_data", "track_masks"):
        raise app.UsageError(f"--mode={mode} reads no config: {_overrides[0]}")
    for flag in (_WORKDIR, _OUTPUT, _CHECKPOINT, _GROUND_TRUTH, _FRAMES, _JSON):
        if flag.value and not ranges.PLACE.holds(flag.value):
            raise app.UsageError(
                f"--{flag.name}={flag.value}: expected {ranges.PLACE}."
            )
    if mode not in SHARED and (
        _HOSTS.value or _COORDINATOR.value or _HOST.value is not None
    ):
        raise app.UsageError(f"--mode={mode} is of one process, without --hosts.")
    if mode == "score":
        from stemseg_jax import score

        return score.run(
            task=_required(_TASK),
            ground_truth=_required(_GROUND_TRUTH),
            results=_required(_RESULTS),
            also_at=_whole_numbers(_ALSO_AT, "height,width"),
            json_file=_JSON.value,
        )
    if mode == "check_data":
        from stemseg_jax import check_data

        if len(folders := _required(_INPUT)) > 1:
            raise app.UsageError("--mode=check_data takes one --input.")
        return check_data.run(folders[0], _JSON.value)
    if mode == "track_masks":
        return _track_masks()
    if mode == "report":
        return _report()
    if mode == "demo":
        from stemseg_jax import demo

        config = _required(_CONFIG)
        _check(config, mode, origin="")
        return demo.run(config, workdir=_WORKDIR.value or "runs/demo")

    checkpoint = _CHECKPOINT.value
    if mode.startswith("export"):
        _required(_CHECKPOINT)
    if mode == "predict" and not _CONFIG.value:
        checkpoint = checkpoint or _WORKDIR.value or "real"
    config = _CONFIG.value or _config_of(checkpoint)
    _check(config, mode, origin="" if _CONFIG.value else checkpoint)
    from stemseg_jax import compilation, hosts, models

    if mode in SHARED:
        hosts.join(_HOSTS.value, _HOST.value, _COORDINATOR.value)
    if mode != "train":
        models.set_precision(config)
    compilation.keep()
    if mode == "train":
        from stemseg_jax import train

        with hosts.explained():
            return train.run(config, _required(_WORKDIR))
    if mode == "evaluate":
        from stemseg_jax import evaluate

        with hosts.explained():
            evaluate.run(
                config,
                checkpoint=checkpoint or _required(_WORKDIR),
                workdir=_required(_WORKDIR),
                json_file=_JSON.value,
            )
        return None
    if mode == "predict":
        return _predict(config, checkpoint or _WORKDIR.value or _required(_CHECKPOINT))
    if mode == "show_data":
        from stemseg_jax import show_data

        return show_data.run(config, _required(_OUTPUT))
    if mode == "pack":
        from stemseg_jax import pack

        return pack.run(config, _required(_OUTPUT))
    if mode == "export_weights":
        from stemseg_jax import export_weights

        return export_weights.run(
            config,
            checkpoint=_required(_CHECKPOINT),
            output=_required(_OUTPUT),
            half=_HALF.value,
        )
    if mode == "export":
        from stemseg_jax import export

        return export.run(
            config,
            checkpoint=_required(_CHECKPOINT),
            output=_required(_OUTPUT),
            platforms=_PLATFORMS.value,
            size=_whole_numbers(_SIZE, "height,width or batch,height,width"),
        )
    from stemseg_jax import benchmark

    return benchmark.run(config, json_file=_JSON.value)


def _track_masks() -> None:
    from stemseg_jax import track_masks

    if len(masks := _required(_INPUT)) > 1:
        raise app.UsageError("--mode=track_masks takes one --input.")
    track_masks.run(
        masks=masks[0],
        by=_LINK.value,
        task=_required(_TASK),
        output=_required(_OUTPUT),
        frames=_FRAMES.value,
        ground_truth=_GROUND_TRUTH.value,
        listing=_LISTING.value,
        checkpoint=_CHECKPOINT.value or "real",
        config=_CONFIG.value,
        json_file=_JSON.value,
    )


def _report() -> None:
    from stemseg_jax import report
    from stemseg_jax.report import run_folder, writing

    if len(folders := _required(_INPUT)) > 1:
        raise app.UsageError("--mode=report takes one --input.")
    config = _CONFIG.value
    if _overrides:
        config = run_folder.evaluated(writing.folder_of(folders[0]))
        if config is None:
            raise app.UsageError(f"{folders[0]} has no config: {_overrides[0]}")
        config = _overridden(config)
    report.run(
        folders[0],
        output=_OUTPUT.value,
        videos=_VIDEOS.value,
        config=config,
        command=shlex.join(["stemseg", *sys.argv[1:]]),
    )


def _predict(config: ConfigDict, checkpoint: str) -> int:
    """The exit status: 0 if every video was labelled to its end."""
    from stemseg_jax import predict, results
    from stemseg_jax.data import inputs

    limit = "config.selection.limit"  # exists as a flag if it is given
    if limit in flags.FLAGS or any(limit in override for override in _overrides):
        raise app.UsageError(f"--{limit} is a benchmark's; predict has --max_tracks.")
    outcomes = predict.run(
        config,
        checkpoint=checkpoint,
        sources=_required(_INPUT),
        output=_OUTPUT.value or "predicted",
        outputs=results.Outputs(
            names=tuple(_OUTPUTS.value),
            max_tracks=_MAX_TRACKS.value,
            min_score=_MIN_SCORE.value,
            ground_truth=_GROUND_TRUTH.value,
        ),
        choice=inputs.FrameChoice(
            start=inputs.seconds(_START.value),
            end=_END.value and inputs.seconds(_END.value),
            stride=_STRIDE.value,
            fps=_FPS.value,
        ),
        shots=_SHOTS.value,
        rejoin=_REJOIN.value,
        overwrite=_OVERWRITE.value,
    )
    return int(any(outcome.fault for outcome in outcomes))


def _config_of(checkpoint: str | None) -> ConfigDict:
    """What a checkpoint of ours was trained with, where no --config is given."""
    if not checkpoint:
        return _required(_CONFIG)
    from stemseg_jax import models, options

    config = models.saved_config(checkpoint)
    if not _overrides:
        return config
    options.check(config, origin=checkpoint)  # whose fault it is, if there is one
    return _overridden(config)


def _overridden(config: ConfigDict) -> ConfigDict:
    """With what the command line says of it, as of one from a file."""
    if "data" in config and config.data.get("root") is None:  # of a type to be given
        config.data.root = config_dict.placeholder(str)
    values, argv = flags.FlagValues(), ["stemseg", *_overrides]
    try:
        config_flags.DEFINE_config_dict(
            "config", config, flag_values=values, sys_argv=argv
        )
        values(argv)
    except (AttributeError, KeyError, TypeError, flags.Error) as error:
        raise ValueError(f"{' '.join(_overrides)}: {_plain(error)}") from error
    return values.config


def _check(config: ConfigDict, mode: str, *, origin: str) -> None:
    """Refuses what cannot be meant, before a device is touched."""
    from stemseg_jax import models, options

    options.check(config, origin=origin, overridden=bool(_overrides))
    models.build(config)
    if mode in FED:
        from stemseg_jax.data import pipeline

        pipeline.check(config)


def _whole_numbers(flag: flags.FlagHolder, expected: str) -> list[int]:
    if not all(number.isdecimal() for number in flag.value):
        given = ",".join(flag.value)
        raise app.UsageError(f"--{flag.name}={given}: expected {expected}.")
    return [int(number) for number in flag.value]


def _required(flag: flags.FlagHolder):
    if flag.value:
        return flag.value
    raise app.UsageError(
        f"--mode={_MODE.value} ({MODES[_MODE.value]}) needs --{flag.name}=..."
    )


def run() -> None:
    """The console script `stemseg`."""
    sys.unraisablehook = _without_leftovers
    app.run(main, flags_parser=_parse)


def _without_leftovers(unraisable) -> None:
    """Of each array that orbax was still at when one failed, there would be a stack."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def _parse(argv: list[str]) -> list[str]:
    """As absl does it, which says most mistakes once and without a stack."""
    argv[:] = map(_installed, argv)  # of sys, where ml_collections looks again
    # A file of flags may name a config, too.
    if not any(re.match(r"--?(config|flagfile)(=|$)", one) for one in argv):
        argv, _overrides[:] = _without_overrides(argv)
    try:
        return app.parse_flags_with_usage(argv)
    except AttributeError as error:  # an option that the config does not have
        if not isinstance(error.args[0], KeyError):
            raise
        print(f"No option of the config: {_plain(error)}", file=sys.stderr)
        sys.exit(1)


def _installed(argument: str) -> str:
    """A config of ours is found from any folder, unless there is one of that name."""
    option, file, rest = re.match(r"(--?config=|)([^:]*)(.*)", argument, re.S).groups()
    ours = re.fullmatch(r"configs/\w+\.py", file) and not os.path.exists(file)
    there = BESIDE / file
    return f"{option}{there}{rest}" if ours and there.exists() else argument


def _without_overrides(argv: list[str]) -> tuple[list[str], list[str]]:
    """The command line without options of a config, and these."""
    rest, own = [], []
    for before, argument in zip(["", *argv], argv, strict=False):
        option = re.match(r"--?(no)?config\.", argument)
        awaited = own and before == own[-1] and "=" not in before
        value = awaited and not argument.startswith("-")
        (own if option or value else rest).append(argument)
    return rest, own


def _plain(error: Exception) -> str:
    """What ml_collections says, out of the errors that it wraps errors in."""
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    return str(error.args[0] if error.args else error)


if __name__ == "__main__":
    run()
