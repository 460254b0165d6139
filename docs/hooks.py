"""What mkdocs can't do by itself: the repository's own Markdown, the command line's help, docstrings' roles.

mkdocs.yml names this module twice: as a hook of mkdocs (the functions ``on_*``) and as an extension of
griffe, which reads docstrings (:class:`Roles`).
"""

from __future__ import annotations

import html
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import griffe
from mkdocs.structure.files import File

from openeo_superres.cli import main
from openeo_superres.products import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
SHOWN = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/*.md",
    "docs/reference/*.md",
    "docs/images/*",
    "docs/reports/*.html",
    "models/*.md",
    "examples/README.md",
    "examples/*/README.md",
)
"""Files of the repository that the site has, at the same paths."""
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s:]+)\)")
"""A link to a file in Markdown: text and target; no image, no address, no anchor."""
COMMANDS = "<!-- commands -->"
"""Where a page shows the help of every command."""
MODULES = re.compile(r"<!-- modules of (\w+) -->")
"""Where a page shows every module of a package inside ours."""
ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):`~?([\w.]+)`")
"""A reference in a docstring."""


def shown(root: Path = ROOT) -> list[str]:
    """Paths of the files that the site has, from the root, sorted."""
    return sorted(path.relative_to(root).as_posix() for pattern in SHOWN for path in root.glob(pattern))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the repository's files to those of ``docs_dir``."""
    for path in shown():
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Take links to files that only the repository has off their text, and put in the commands' help."""
    del config
    folder = (ROOT / page.file.src_uri).parent
    markdown = without_source_links(markdown, folder, {file.src_uri for file in files})
    markdown = MODULES.sub(lambda found: "\n".join(modules(found[1])), markdown)
    return markdown.replace(COMMANDS, "\n".join(commands())) if COMMANDS in markdown else markdown


def without_source_links(markdown: str, folder: Path, pages: set[str]) -> str:
    """Leave of links to source files the text alone; what is on the site, or nowhere, stays a link.

    Args:
        markdown: Of a page.
        folder: That links start from.
        pages: Paths from the root of what is on the site.
    """

    def plain(link: re.Match[str]) -> str:
        target = (folder / link[2]).resolve()
        in_repository = target.exists() and target.is_relative_to(ROOT)
        return link[1] if in_repository and target.relative_to(ROOT).as_posix() not in pages else link[0]

    return LINK.sub(plain, markdown)


# ---- the command line


def commands() -> Iterator[str]:
    """Lines of Markdown: each command with its usage, help and options."""
    named = {f"openeo-superres {name}": command for name, command in main.commands.items()}
    for name, command in {**named, "rio superres": run}.items():
        context = click.Context(command, info_name=name)
        yield from (f"## {name}", "", "```text", f"{name} {' '.join(command.collect_usage_pieces(context))}")
        yield from ("```", "")
        if command is run and name.startswith("rio"):
            yield from ("The same as [`openeo-superres run`](#openeo-superres-run), with its options.", "")
            continue
        yield from (_escaped(inspect.cleandoc(command.help or "")), "")
        if rows := [row for option in _options(command) if (row := _row(option, context))]:
            yield from ("| option | what |", "|---|---|", *rows, "")


def _options(command: click.Command) -> list[click.Option]:
    return [option for option in command.params if isinstance(option, click.Option) and not option.hidden]


def _row(option: click.Option, context: click.Context) -> str:
    """An option in a table: its names and what it takes, its help with the default."""
    record = option.get_help_record(context)
    if record is None:
        return ""
    name, text = map(_escaped, record)
    return f"| <code>{name}</code> | {text} |"


def _escaped(text: str) -> str:
    """Help as Markdown: nothing in it becomes HTML, a link, emphasis or a column."""
    return re.sub(r"[\[_*|]", lambda found: f"&#{ord(found[0])};", html.escape(text, quote=False))


# ---- docstrings


def modules(package: str) -> Iterator[str]:
    """Lines that let mkdocstrings show each public module of a package inside ours."""
    for path in sorted((ROOT / "udf/openeo_superres" / package).glob("[!_]*.py")):
        yield from (f"::: openeo_superres.{package}.{path.stem}", "")


class Roles(griffe.Extension):
    """References in docstrings, written as Sphinx has them, become links where the site has their target."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Rewrite the docstrings of a package that was read."""
        self._rewrite(pkg)

    def _rewrite(self, thing: griffe.Object | griffe.Alias) -> None:
        if thing.is_alias:
            return
        if thing.docstring:
            thing.docstring.value = ROLE.sub(lambda role: linked(role[1], thing), thing.docstring.value)
        for member in thing.members.values():
            self._rewrite(member)


def linked(name: str, scope: griffe.Object | griffe.Alias) -> str:
    """A link in HTML to what a name means in a scope; plain code where the site does not show it."""
    try:
        path = scope.resolve(name)
    except griffe.NameResolutionError:
        path = name
    return f'<autoref identifier="{path}" optional><code>{name.rsplit(".", 1)[-1]}</code></autoref>'
