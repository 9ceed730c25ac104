import math

import pytest

from stemseg_jax.formats import metrics_jsonl


def read(tmp_path, text):
    path = tmp_path / "metrics.jsonl"
    path.write_text(text)
    return [figures for _, figures in metrics_jsonl.read(path)]


def test_lines_with_what_is_not_finite(tmp_path):
    first, second = read(tmp_path, '{"step": 1, "loss": NaN}\n{"step": 2}\n')
    assert math.isnan(first["loss"]) and second == {"step": 2}


def test_a_line_that_does_not_end_is_left_out(tmp_path):
    assert read(tmp_path, '{"step": 1}\n{"step": 2, "lo') == [{"step": 1}]
    assert read(tmp_path, '{"step": 1}') == []


def test_no_line_and_no_file(tmp_path):
    assert read(tmp_path, "") == []
    assert metrics_jsonl.read(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize("line", ["{", "[1]", '{"loss": 1}', '{"step": "1"}', ""])
def test_a_damaged_line_is_named(tmp_path, line):
    with pytest.raises(ValueError, match="metrics.jsonl, line 2 is damaged: .*Take"):
        read(tmp_path, f'{{"step": 1}}\n{line}\n{{"step": 3}}\n')
