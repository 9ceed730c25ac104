"""What the documents tell users to type, and the code that they show."""

import pathlib
import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from markdown_it import MarkdownIt

ROOT = pathlib.Path(__file__).parents[1]
FOR_USERS = [
    *("README.md", "CONTRIBUTING.md"),
    *(
        str(path.relative_to(ROOT))
        for folder in ("docs", "docs/systems")
        for path in sorted((ROOT / folder).glob("*.md"))
    ),
]
OF_EXPERIMENTS = [
    str(path.relative_to(ROOT))
    for path in sorted((ROOT / "experiments").glob("*/README.md"))
]
NEEDS = re.compile(r"<!-- needs (.*?) -->")
# What a command begins with, after the settings of its environment.
CALLED = {
    "program": re.compile(r"((\S*/)?stemseg|python3? -m stemseg_jax\.main)(?= |$)"),
    "module": re.compile(r"python3? -m (stemseg_jax\.data\.\w+)"),
    "script": re.compile(r"python3? ((?:experiments|docs)/\S+\.py)"),
    "make": re.compile(r"make(?= |$)"),
}


class Command(NamedTuple):
    kind: str  # of `CALLED`
    target: str  # what is called: a module or a script
    arguments: tuple[str, ...]
    needs: tuple[str, ...]  # words that say that it cannot be run, as its block has it

    @property
    def can_be_run(self) -> bool:
        said = " ".join([self.kind, self.target, *self.arguments])
        return not any(word in said for word in self.needs)

    def __str__(self) -> str:
        return " ".join([self.target or self.kind, *self.arguments])


class Document(NamedTuple):
    commands: list[Command]  # of blocks
    named: list[str]  # code in the midst of sentences
    python: list[str]


def read(name: str) -> Document:
    """Blocks that are indented, of no language or of sh may hold commands."""
    found, needs = Document([], [], []), ()
    for token in MarkdownIt().enable("table").parse((ROOT / name).read_text()):
        for part in token.children or ():
            if part.type == "code_inline":
                found.named.append(part.content)
        if token.type == "html_block" and (said := NEEDS.search(token.content)):
            needs = tuple(said[1].split(", "))
        if token.type not in ("code_block", "fence"):
            continue
        if token.info == "python":
            found.python.append(token.content)
        elif token.info in ("", "sh"):
            block = [c._replace(needs=needs) for c in commands(token.content)]
            assert all(any(word in str(c) for c in block) for word in needs), (
                f"{name}: no command of the block has one of {needs}"
            )
            found.commands.extend(block)
        needs = ()
    assert not needs, f"{name}: no block follows where {needs} is needed"
    return found


def commands(text: str) -> Iterator[Command]:
    """Those that call what is ours, also within the quotes of others."""
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if not re.search(r"\b(stemseg|make|python3?)\b", line):
            continue
        group: list[str] = []
        for word in [*shlex.split(line, comments=True), ";"]:
            if "&&" in word and " " in word:
                yield from commands(word)
            if word not in (";", "&&", "|"):
                group.append(word)
                continue
            yield from _command(group)
            group = []


def _command(words: list[str]) -> Iterator[Command]:
    for start in range(len(words)):
        said = " ".join(words[start:])
        for kind, begins in CALLED.items():
            if called := begins.match(said):
                target = called[1] if kind in ("module", "script") else ""
                own = words[start + len(called[0].split()) :]
                yield Command(kind, target, tuple(own), ())
                return
