"""JSON files are what was declared, or say where they are not."""

import gzip
import tracemalloc

import msgspec
import pytest

from stemseg_jax.formats import declared


class Thing(msgspec.Struct):
    id: declared.Id
    size: tuple[declared.Side, declared.Side] = (1, 1)


class Things(msgspec.Struct):
    things: list[Thing]
    more: list[Thing] | None = None


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", r"\$: expected `object`, got `array`. Is it the file that was meant\?"),
        ("{}", r"\$: object missing required field `things`"),
        ('{"things": [{"id": "1"}]}', r"\$.things\[0\].id: expected `int`, got `str`"),
        ('{"things": [{"id": -1}]}', r"\$.things\[0\].id: expected `int` >= 0"),
        (
            '{"things": [{"id": 1.5}]}',
            r"\$.things\[0\].id: expected `int`, got `float`",
        ),
        (
            '{"things": [{"id": null}]}',
            r"\$.things\[0\].id: expected `int`, got `null`",
        ),
        (
            '{"things": [{"id": 1, "size": [0, 1]}]}',
            r".*size\[0\]: expected `int` >= 1",
        ),
        ('{"things": [{"id": 1, "size": [1, 99999]}]}', r".*size\[1\]: .* <= 65535"),
        ('{"things": NaN}', "no readable JSON .*near .*NaN.*; JSON has no NaN"),
        ('{"things": [', "no readable JSON .*truncated"),
        ("", "no readable JSON"),
        ('{"a": ' + "[" * 10**5, "no readable JSON .*recursion"),
        (b'{"note": "\xff", "things": []}', "no readable JSON .*utf-8"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(tmp_path, text, message):
    with pytest.raises(ValueError, match=f"things.json: {message}"):
        declared.read(write(tmp_path / "things.json", text), Things)


def test_a_file_of_another_kind_has_no_entries_to_leave_out(tmp_path):
    for text in ("[]", "{}", '{"things": 3}', '{"things": [{}], "more": [1]', "[1"):
        with pytest.raises(ValueError, match="a.json: "):
            path = write(tmp_path / "a.json", text)
            declared.read(path, Things, report=lambda *fault: None)


def test_entries_that_do_not_fit_are_left_out_and_told(tmp_path):
    text = '{"things": [{"id": 1}, 7, {"id": 2}, {}], "more": [{"id": []}]}'
    told = []
    found = declared.read(
        write(tmp_path / "a.json", text),
        Things,
        report=lambda *fault: told.append(fault),
    )
    assert [thing.id for thing in found.things] == [1, 2] and found.more == []
    assert [what.partition(": ")[0] for _, _, what in told] == [
        "$.things[1]",
        "$.things[3]",
        "$.more[0].id",
    ]
    assert {where for where, *_ in told} == {str(tmp_path / "a.json")}


def test_a_mark_in_front_and_gzip_are_read(tmp_path):
    text = '\ufeff{"things": [{"id": 3, "else": "é"}]}'
    for name, data in (
        ("a.json", text.encode()),
        ("a.json.gz", gzip.compress(text.encode())),
    ):
        assert declared.read(write(tmp_path / name, data), Things).things[0].id == 3


def test_letters_beyond_ascii_take_no_second_copy(tmp_path):
    """Nor do they break where two pieces of the file meet."""
    note = "\U0001f600" * declared.PIECE + "a" * 10 * declared.PIECE + "\U0001f600"
    path = write(tmp_path / "a.json", f'{{"things": [], "note": "{note}"}}')
    tracemalloc.start()
    declared.read(path, Things)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * path.stat().st_size
    path.write_bytes(path.read_bytes()[:-4] + b'\xf0\x9f"}')
    with pytest.raises(ValueError, match="no readable JSON .*utf-8"):
        declared.read(path, Things)
