"""What the documents tell users to type is what the program takes.

Every command is checked up to where it would read data or touch a device, and so is
what is named of flags, options and `make` in passing. Each is also run in small, but
for those of a block after `<!-- needs WORD, ... -->` that hold such a word: they need
what no test has.
"""

import argparse
import contextlib
import importlib
import pathlib
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from unittest import mock

import grain  # noqa: F401  defines a flag, which flagsaver would take away again
import pytest
from absl import app, flags
from absl.testing import flagsaver
from ml_collections import ConfigDict

from stemseg_jax import main, models, options
from stemseg_jax.data.datasets import moving_shapes
from stemseg_jax.evaluation import METRICS
from stemseg_jax.outputs import video
from stemseg_jax.systems import SYSTEMS
from tests import documents
from tests.data import folders

pytestmark = pytest.mark.usefixtures("compiled_once")
DOCUMENTS = {
    name: documents.read(name)
    for name in documents.FOR_USERS + documents.OF_EXPERIMENTS
}
USERS = {name: DOCUMENTS[name] for name in documents.FOR_USERS}
RUN = {n: [c for c in d.commands if c.can_be_run] for n, d in USERS.items()}
CONFIGS = [importlib.import_module(f"configs.{n}").get_config() for n in SYSTEMS]
SECTIONS = {n for c in CONFIGS for n in c if isinstance(c[n], ConfigDict)}
# Flags of other programs that are named: SLURM's, the authors', palette_to_json's.
FOREIGN = {"gpus-per-node", "gpus-per-task", "signal", "resize_embeddings", "classes"}
FOREIGN |= {"max_dim"}


class Taken(Exception):  # noqa: N818  no error: a script has parsed its command line
    pass


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder to be in, with what the documents say that a user has there."""
    monkeypatch.chdir(tmp_path)
    for path in documents.FOR_USERS:
        for code in DOCUMENTS[path].python:
            if name := re.match(r"# (\w+\.py)\n", code):
                (tmp_path / name[1]).write_text(code)
    return tmp_path


def saved_config(checkpoint: str, known=models.saved_config) -> ConfigDict:
    if checkpoint == "real":
        return known(checkpoint)
    return importlib.import_module("configs.moving_shapes").get_config()


def call(arguments) -> int | None:
    argv = ["stemseg", *arguments]
    with (
        flagsaver.flagsaver(),
        mock.patch.object(sys, "argv", argv),
        mock.patch.object(main, "_overrides", []),
    ):
        ended = main.main(main._parse(argv))
        assert flags.FLAGS.task in {None, *METRICS}
    return ended


def check_program(command):
    """All that comes before a script runs."""
    with contextlib.ExitStack() as stack:
        for mode in main.MODES:
            gives = [] if mode == "predict" else None  # no video, none that failed
            script = mock.patch(f"stemseg_jax.{mode}.run", autospec=True)
            stack.enter_context(script).return_value = gives
        for path in ("hosts.join", "compilation.keep", "models.set_precision"):
            stack.enter_context(mock.patch(f"stemseg_jax.{path}"))
        stack.enter_context(mock.patch.object(models, "saved_config", saved_config))
        assert not call(command.arguments)


def check_script(command):
    """Until its command line is parsed."""

    def parse(parser, *_, known=argparse.ArgumentParser.parse_known_args):
        # Options that may be left out stand in brackets.
        _, rest = known(parser, [word.strip("[]") for word in command.arguments])
        if rest:
            parser.error(f"not known: {rest}")
        raise Taken

    def run(_):
        flags.FLAGS([command.target, *command.arguments])
        raise Taken

    path = documents.ROOT / command.target
    if not re.search(r"argparse|absl.*flags|studies\.", path.read_text()):
        assert not command.arguments
        return
    before = {*flags.FLAGS}
    with (
        mock.patch.object(argparse.ArgumentParser, "parse_known_args", parse),
        mock.patch.object(app, "run", run),
        mock.patch.object(sys, "path", [str(path.parent), *sys.path]),
        pytest.raises(Taken),
        flagsaver.flagsaver(),
    ):
        runpy.run_path(str(path), run_name="__main__")
    for name in {*flags.FLAGS} - before:
        delattr(flags.FLAGS, name)


def check_module(command):
    path = f"{command.target.replace('.', '/')}.py"
    check_script(command._replace(target=path))


def check_make(command):
    if not shutil.which("make"):
        pytest.skip("needs make")
    words = [word.strip("[]") for word in command.arguments]
    makefile = (documents.ROOT / "Makefile").read_text()
    for name in (word.partition("=")[0] for word in words if "=" in word):
        assert re.search(rf"\$\(.*{name}\b", makefile), name
    subprocess.run(["make", "-n", *words], cwd=documents.ROOT, check=True)


CHECKS = {
    "program": check_program,
    "script": check_script,
    "module": check_module,
    "make": check_make,
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_are_taken(name, home):
    document = DOCUMENTS[name]
    named = [c for code in document.named for c in documents.commands(code)]
    for command in document.commands + named:
        print(command)
        if command.arguments:  # else it is the program that is named
            CHECKS[command.kind](command)


@pytest.mark.parametrize("name", USERS)
def test_flags_and_options_that_are_named_are_known(name):
    for code in USERS[name].named:
        if code.startswith("--"):
            flag_names = [w[2:] for w in shlex.split(code) if w.startswith("--")]
            for flag in (re.split("[=/]", name)[0] for name in flag_names):
                section, _, path = flag.partition(".")
                if section == "config" and path:
                    assert is_option(path), code
                else:
                    known = {flag, flag.removeprefix("no")} & {*flags.FLAGS}
                    assert known or flag in FOREIGN, code
        option = re.fullmatch(r"(config\.)?((\w+)\.[\w.]+)( = .*)?", code)
        if option and option[3] in SECTIONS and "<" not in code:
            assert is_option(option[2]), code


def is_option(path: str) -> bool:
    """Whether some system has it; what an empty section may hold is not known here."""

    def found(config, parts):
        if not parts or not isinstance(config, ConfigDict) or not config:
            return True
        return parts[0] in config and found(config[parts[0]], parts[1:])

    return any(found(config, path.split(".")) for config in CONFIGS)


def test_a_document_that_is_wrong_would_be_found(home):
    (wrong,) = documents.commands("stemseg --config=configs/davis.py --workdri=x")
    with pytest.raises(SystemExit):
        check_program(wrong)
    (wrong,) = documents.commands("X=1 a/stemseg --config=configs/davis.py --workdir=x")
    check_program(wrong)
    (wrong,) = documents.commands("python experiments/classes/run.py --outptu=x")
    with pytest.raises(SystemExit):
        check_script(wrong)
    (wrong,) = documents.commands("sh 'cd x && make dmeo' # make demo")
    with pytest.raises(subprocess.CalledProcessError):
        check_make(wrong)
    assert is_option("optim.steps") and not is_option("optim.step")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in USERS if RUN[name]])
def test_commands_run_in_small(name, home):
    """One after the other, in one folder: what one leaves the next may need."""
    write_inputs(home)
    for command in RUN[name]:
        print(command)
        if command.kind == "program":
            assert not call(in_small(command.arguments))
        else:
            path = documents.ROOT / command.target
            module = ["-m", command.target] if command.kind == "module" else [path]
            subprocess.run([sys.executable, *module, *command.arguments], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in USERS if USERS[name].python])
def test_python_that_is_shown_runs(name, home):
    write_inputs(home)
    for code in USERS[name].python:
        config = importlib.import_module("configs.ytvis").get_config().unlock()
        exec(compile(code, name, "exec"), {"config": config, "__name__": "shown"})
        options.check(config)


def in_small(arguments):
    """With a config's smoke variant, which is of built-in data and has few updates."""
    for argument in arguments:
        if config := re.fullmatch(r"(--config=(?:\w+/)?\w+\.py)(?::(.*))?", argument):
            yield f"{config[1]}:{','.join(filter(None, [config[2], 'smoke']))}"
        elif not argument.startswith("--config.optim.steps"):
            yield argument


def write_inputs(folder: pathlib.Path) -> None:
    (shapes,) = moving_shapes.load(None, "test", num_videos=1, num_frames=10).videos
    clip = shapes.clip(range(10))
    with video.Writer(folder / "clip.mp4", fps=10) as writer:
        for frame in clip.frames:
            writer.write(frame)
    for t, frame in enumerate(clip.frames):
        labels = (clip.ids[:, None, None] * clip.masks[:, t]).max(axis=0)
        place = folder / "mine/train"
        folders.save(place / f"JPEGImages/kitchen/{t:04d}.jpg", frame)
        folders.save(place / f"Annotations/kitchen/{t:04d}.png", labels.astype("uint8"))
