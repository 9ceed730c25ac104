"""The curves of a run below the cell of a notebook, and what becomes of its errors."""

import importlib
import json
import sys
import time

import pytest

pytest.importorskip("matplotlib")
pylabtools = pytest.importorskip("IPython.core.pylabtools")
from stemseg_jax.figures import training  # noqa: E402

LONG = 60.0  # longer than the body takes
DAMAGED = "no figures\n"


def log(folder, *records):
    lines = [json.dumps(record) + "\n" for record in records]
    (folder / "metrics.jsonl").write_text("".join(lines))


def wait_until(reached):
    end = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def shown(monkeypatch):
    """What is shown in place of the first figure, one after the other."""

    class Cell(list):
        update = list.append

    cell = Cell()
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: cell)
    return cell


def test_without_a_log_it_is_said_so(tmp_path):
    fig = training.curves(tmp_path)
    (axis,) = fig.axes
    assert [text.get_text() for text in axis.texts] == ["no update is logged yet"]
    assert isinstance(pylabtools.print_figure(fig), bytes)  # None is not shown


def test_a_single_point_is_a_marker(tmp_path):
    log(tmp_path, {"step": 1, "loss": 2.0, "lovasz": 1.0}, {"step": 2, "loss": 1.0})
    loss, lovasz = (axis.lines[0] for axis in training.curves(tmp_path).axes[:2])
    assert not loss.get_marker() and lovasz.get_marker() == "."
    assert [*lovasz.get_xdata()] == [1]


def test_the_loss_its_gradient_and_one_figure_of_validations_are_drawn(tmp_path):
    trained = {"lovasz": 1.0, "loss": 2.0, "loss/davis": 2.0, "gradient_norm": 3.0}
    aside = {"learning_rate": 1e-3, "steps_per_second": 2.0, "not_finite": 1}
    validated = {"validation/J-Mean": 0.4, "validation/J&F-Mean": 0.5}
    log(tmp_path, {"step": 5, **trained, **aside}, {"step": 5, **validated})
    fig = training.curves(tmp_path)
    titles = [axis.get_title() for axis in fig.axes]
    assert titles == ["loss", "lovasz", "gradient_norm", "J&F-Mean"]
    assert isinstance(pylabtools.print_figure(fig), bytes)


def test_a_damaged_line_is_told_once_and_the_curves_go_on(tmp_path, shown, caplog):
    with training.watched(tmp_path, every=0.01):
        (tmp_path / "metrics.jsonl").write_text(DAMAGED)
        wait_until(lambda: "line 1 is damaged" in caplog.text)
        before = len(shown)
        time.sleep(0.1)  # for more drawings
        log(tmp_path, {"step": 1, "loss": 2.0})
        wait_until(lambda: len(shown) > before)
        (tmp_path / "metrics.jsonl").write_text(DAMAGED)
    assert caplog.text.count("are not drawn") == 1


@pytest.mark.parametrize(
    ("error", "drawn"),
    [(FloatingPointError, 0), (KeyboardInterrupt, 1), (SystemExit, 1)],
)
def test_the_error_of_a_run_is_the_last_thing_said(tmp_path, shown, error, drawn):
    with (
        pytest.raises(error, match="of the run"),
        training.watched(tmp_path, every=LONG),
    ):
        raise error("of the run")
    assert len(shown) == drawn


@pytest.mark.parametrize("error", [FloatingPointError, KeyboardInterrupt])
def test_a_failed_drawing_hides_no_error(tmp_path, shown, error):
    with (
        pytest.raises(error, match="of the run"),
        training.watched(tmp_path, every=LONG),
    ):
        (tmp_path / "metrics.jsonl").write_text(DAMAGED)
        raise error("of the run")
    assert not shown


def test_the_last_update_is_drawn(tmp_path, shown):
    with training.watched(tmp_path, every=LONG):
        log(tmp_path, {"step": 1, "loss": 2.0})
    (fig,) = shown
    assert fig.axes[0].get_title() == "loss"


def test_outside_of_a_notebook_nothing_begins(tmp_path):
    begun = False
    with (
        pytest.raises(ValueError, match="below a cell of a notebook, and this is none"),
        training.watched(tmp_path),
    ):
        begun = True
    assert not begun


def test_curves_need_no_ipython(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "IPython", None)
    monkeypatch.delitem(sys.modules, training.__name__)
    fresh = importlib.import_module(training.__name__)
    assert fresh.curves(tmp_path).axes
    with pytest.raises(ImportError, match="IPython"), fresh.watched(tmp_path):
        pass
