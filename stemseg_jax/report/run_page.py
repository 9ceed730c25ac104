"""The page of a run: scores, videos beside the truth, curves, and the config."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from stemseg_jax.outputs import page, plots
from stemseg_jax.report import result_videos, room, run_folder, score_tables

# What is logged, by groups; what is in none is of the loss.
CURVES = {
    "Validation": (),  # what begins with its name
    "Loss": (),
    "Optimisation": ("learning_rate", "gradient_norm", "not_finite"),
    "Speed": ("steps_per_second", "clips_per_second", "seconds_waited"),
    "Memory": ("device_gigabytes",),
    "Clips": ("dropped_instances", "left_out_samples"),
}
VALIDATION = "validation/"  # before the names of its figures
LOGARITHMIC = ("Loss", "gradient_norm")


def page_of(folder: pathlib.Path, config: ConfigDict | None, *, most: int) -> page.Page:
    """The page, but for how it was made.

    Args:
        config: See `run_folder.results`.
        most: Videos that are shown.
    """
    saved = run_folder.config(folder) or config
    series = plots.series(run_folder.log(folder))
    results = run_folder.results(folder, config)
    compared = run_folder.comparison(folder)
    trained = any((folder / x).exists() for x in (run_folder.LOG, run_folder.CONFIG))
    shown, scores = room.Shown([], ""), {}
    if results:
        shown, scores = result_videos.shown(results, most=most), results.scores
    anchors = {video.name: video.anchor for video in shown.videos}
    tables = score_tables.tables(scores, anchors)
    return page.Page(
        title=folder.resolve().name,
        kind="Report of a run" if trained else "Report of results",
        facts=_facts(saved, series, results),
        tables=[*_comparison(compared), *tables],
        videos=shown.videos,
        videos_note=shown.note or "Nothing was evaluated here yet (--mode=evaluate).",
        plots=curves(series),
        plots_note=f"{run_folder.LOG} has no updates." * (trained and not series),
        settings=settings(saved) if saved else {},
        settings_title="Config",
        made={},
    )


def curves(series: Mapping[str, plots.Series]) -> dict[str, list[plots.Plot]]:
    """A plot of each figure, by groups."""
    groups: dict[str, list[plots.Plot]] = {group: [] for group in CURVES}
    for name in sorted(series, key=lambda name: name != "loss"):  # the sum of all terms
        group, values = _group(name), series[name]
        steep = not {group, name}.isdisjoint(LOGARITHMIC)
        title = name.removeprefix(VALIDATION)
        if drawn := plots.plot(title, values, logarithmic=steep):
            groups[group].append(drawn)
    return {group: drawn for group, drawn in groups.items() if drawn}


def settings(config: ConfigDict) -> dict[str, str]:
    """Each option by its whole name, as JSON has its value."""
    found = {}

    def add(prefix: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for name, inner in value.items():
                add(f"{prefix}.{name}" if prefix else str(name), inner)
        else:
            found[prefix] = json.dumps(value, ensure_ascii=False)

    add("", json.loads(config.to_json_best_effort()))
    return found


def _group(name: str) -> str:
    if name.startswith(VALIDATION):
        return "Validation"
    return next((group for group, own in CURVES.items() if name in own), "Loss")


def _facts(
    config: ConfigDict | None,
    series: Mapping[str, plots.Series],
    results: run_folder.Results | None,
) -> dict[str, page.Value]:
    facts: dict[str, page.Value] = {}
    if config is not None:
        facts["system"] = config.get("system")
    if series:
        last = max(values[-1][0] for values in series.values())
        steps = settings(config).get("optim.steps") if config is not None else None
        facts["updates"] = f"{last} of {steps}" if steps else last
        if "loss" in series:
            facts["loss"] = series["loss"][-1][1]
        facts |= _best_validation(series)
    if results:
        evaluation = results.config.evaluation
        facts["dataset"] = f"{evaluation.dataset} {evaluation.split}"
        scores = score_tables.of_set(results.scores)
        facts |= {
            name: scores[name] for name in [score_tables.main_name(scores)] if name
        }
    return {name: value for name, value in facts.items() if value is not None}


def _best_validation(series: Mapping[str, plots.Series]) -> dict[str, str]:
    by_step: dict[int, score_tables.Figures] = {}
    for name, values in series.items():
        if name.startswith(VALIDATION):
            for step, value in values:
                by_step.setdefault(step, {})[name.removeprefix(VALIDATION)] = value
    main = {step: score_tables.main_figure(own) for step, own in by_step.items()}
    known = {step: value for step, value in main.items() if value is not None}
    if not known:
        return {}
    best = max(known, key=known.get)
    return {"best validation": f"{known[best]:.3f} at {best}"}


def _comparison(compared: Mapping[str, Mapping[str, Any]]) -> list[page.Table]:
    """What stands beside the model of a demo; "model" is one of the others, too."""
    rows = [
        {"result": name.replace("_", " "), **score_tables.of_set(own)}
        for name, own in compared.items()
        if name != "model" or len(compared) == 1
    ]
    note = "The model in each of its variants, and what needs no learning."
    return [page.Table("Comparison", rows, note=note)] if rows else []
