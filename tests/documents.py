"""Code blocks of the documentation, and how they are run.

A block of Markdown fenced as ``bash`` or ``python`` is run where it stands, in a folder that looks like the
repository; a page's blocks share their names and files from top to bottom. A line right before the fence says
where that is not so: ``<!-- run: backend -->`` needs the back-end on localhost (tests/backend), and
``<!-- not run: REASON -->`` is only checked for commands and options that exist.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import rasterio
import rasterio.rio.main
from click.testing import CliRunner

from openeo_superres.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "models").glob("*.md")),
    ROOT / "examples/README.md",
]
FENCE = re.compile(
    r"^(?P<indent> *)(?:<!-- (?P<mark>[^>]*) -->\n+ *)?```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)
RUN = {"bash", "python"}
SHOWN = {"text", "json", "html", "yaml", "toml"}
"""Languages of blocks that are there to be read."""
IN_PROCESS = {"openeo-superres": main, "rio": rasterio.rio.main.main_group}
SMALL = 240
"""10 m pixels of the sample along each side, where not all of it is needed."""


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: Path
    line: int
    language: str
    text: str
    mark: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def commands(self) -> list[list[str]]:
        """Words of each command in a bash block, without comments; those joined by && apart."""
        lines = self.text.replace("\\\n", " ").splitlines()
        words = [shlex.split(line, comments=True) for line in lines]
        return [command for line in words for command in split(line) if command]


def split(words: list[str]) -> list[list[str]]:
    commands: list[list[str]] = [[]]
    for word in words:
        if word == "&&":
            commands.append([])
        else:
            commands[-1].append(word)
    return commands


def blocks(page: Path, mark: str | None = None) -> list[Block]:
    """Blocks of a page that are run; with a mark, those that have it."""
    text = page.read_text(encoding="utf-8")
    found = [
        Block(
            page,
            text.count("\n", 0, match.start("text")),
            match["language"],
            re.sub(f"^{match['indent']}", "", match["text"], flags=re.MULTILINE),
            match["mark"] or "",
        )
        for match in FENCE.finditer(text)
    ]
    return [block for block in found if mark is None or (block.language in RUN and block.mark == mark)]


def write_sample(folder: Path, size: int = SMALL) -> None:
    """The upper left of the sample scene."""
    folder.mkdir(parents=True)
    for path in (ROOT / "examples/data").glob("*.tif"):
        with rasterio.open(path) as source:
            edge = size if "10m" in path.name else size // 2
            pixels, profile = source.read(window=((0, edge), (0, edge))), source.profile
            profile |= {"width": edge, "height": edge}
            with rasterio.open(folder / path.name, "w", **profile) as file:
                file.write(pixels)
                file.descriptions = source.descriptions


def run(block: Block, names: dict[str, object]) -> None:
    """Run a block in the current folder, to which a bash block comes back in the end."""
    if block.language == "python":
        # lines are numbered as in the page, for tracebacks
        exec(compile("\n" * block.line + block.text, str(block.page), "exec"), names)
        return
    with contextlib.chdir(Path.cwd()):
        for command in block.commands:
            run_command(block, command)


def run_command(block: Block, command: list[str]) -> None:
    if command[0] == "cd":
        os.chdir(command[1])
    elif command[0] in IN_PROCESS:
        result = CliRunner().invoke(IN_PROCESS[command[0]], command[1:])
        assert result.exit_code == 0, (block.place, command, result.output)
    else:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, env={**os.environ, "PATH": path}
        )
        assert done.returncode == 0, (block.place, command, done.stdout, done.stderr)
