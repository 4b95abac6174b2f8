"""Reads a Dockerfile: its stages, and what each instruction says. No more of it than ours uses."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    """One instruction, with its lines joined."""

    word: str
    text: str

    @property
    def words(self) -> list[str]:
        """The arguments: of the exec form, or split as the shell would."""
        found: list[str] = json.loads(self.text) if self.is_exec else shlex.split(self.text)
        return found

    @property
    def is_exec(self) -> bool:
        """Whether it is a list of words, which no shell reads."""
        return self.text.startswith("[")


@dataclass
class Stage:
    """From one FROM to the next."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, word: str) -> list[Instruction]:
        """Return the instructions of a kind, in order."""
        return [one for one in self.instructions if one.word == word]

    def last(self, word: str) -> Instruction:
        """Return the one of a kind that counts."""
        return self.all(word)[-1]

    @property
    def environment(self) -> dict[str, str]:
        """What ENV sets."""
        pairs = (pair.partition("=") for one in self.all("ENV") for pair in one.words)
        return {name: value for name, _, value in pairs}

    @property
    def healthcheck(self) -> tuple[dict[str, str], list[str]]:
        """The options and the command of HEALTHCHECK."""
        options, _, command = self.last("HEALTHCHECK").text.partition("CMD ")
        told = dict(re.findall(r"--([a-z-]+)=(\S+)", options))
        words: list[str] = json.loads(command)
        return told, words


def read(path: Path) -> list[Stage]:
    """Return the stages of a Dockerfile."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    stages: list[Stage] = []
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        word, _, text = line.strip().partition(" ")
        if word == "FROM":
            base, _, name = text.partition(" AS ")
            stages.append(Stage(base, name))
        elif word:
            stages[-1].instructions.append(Instruction(word, text.strip()))
    return stages


def ignored(path: Path) -> list[re.Pattern[str]]:
    """Return what a .dockerignore keeps out of the context."""
    found = []
    for line in path.read_text().split():
        pattern = re.escape(line).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        found.append(re.compile(rf"{pattern}(/.*)?"))
    return found
