"""The site: every page has its place, every public name its entry, and a broken link ends the build."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import openeo_superres
from openeo_superres.cli import main
from openeo_superres.sensor import BANDS
from openeo_superres.udf import ALIGNMENT, FILL_RADIUS

griffe = pytest.importorskip("griffe", reason="needs the docs extra")
pytest.importorskip("mkdocstrings", reason="needs the docs extra")

ROOT = Path(__file__).parents[1]
FETCHED = re.compile(r"""<(?:script|img|iframe|source)[^>]*\ssrc=["']?([^"'\s>]+)""")
LINKED = re.compile(r"<link[^>]*>")
HREF = re.compile(r"""href=["']?([^"'\s>]+)""")


def load_hooks(root=ROOT):
    spec = importlib.util.spec_from_file_location("site_hooks", root / "docs/hooks.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["site_hooks"] = module
    spec.loader.exec_module(module)
    return module


hooks = load_hooks()


def build(root, target):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", "docs/mkdocs.yml"]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(
        [*command, "--site-dir", str(target)],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    target = tmp_path_factory.mktemp("site")
    done = build(ROOT, target)
    assert done.returncode == 0, done.stderr
    return target


# ---- what is on the site


def test_every_page_stands_in_the_navigation_once():
    named = re.findall(r": (\S+\.md)$", (ROOT / "docs/mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(named) == [path for path in hooks.shown() if path.endswith(".md")]


def test_every_public_name_is_in_the_reference():
    text = (ROOT / "docs/reference/api.md").read_text(encoding="utf-8")
    shown = re.findall(r"^::: openeo_superres\.(\w+)$", text, re.MULTILINE)
    assert sorted(shown) == sorted(openeo_superres.__all__)


def test_every_public_name_has_an_entry_with_its_docstring(site):
    html = (site / "docs/reference/api.html").read_text(encoding="utf-8")
    for name in openeo_superres.__all__:
        assert f'id="openeo_superres.{name}"' in html
    assert "Super-resolve a Sentinel-2 cube." in html


def test_every_module_of_the_evaluation_is_in_the_reference(site):
    html = (site / "docs/reference/evaluate.html").read_text(encoding="utf-8")
    folder = Path(openeo_superres.__file__).parent / "evaluate"
    for path in folder.glob("[!_]*.py"):
        assert f'id="openeo_superres.evaluate.{path.stem}"' in html, path.stem


def test_every_option_of_every_command_is_shown():
    text = "\n".join(hooks.commands())
    for name, command in main.commands.items():
        part = text.partition(f"\n## openeo-superres {name}\n")[2] or text
        part = part.partition("\n## ")[0]
        for option in hooks._options(command):
            assert option.opts[0] in part, (name, option.opts)


# ---- numbers that pages repeat


def row(page, start):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {start}")]
    return [cell.strip(" *") for cell in line.strip("|").split("|")][1:]


def test_the_table_of_transfer_is_the_sensors():
    assert row("what-5m-means.md", "MTF at Nyquist") == [f"{band.mtf:.3f}".lstrip("0") for band in BANDS]
    assert row("what-5m-means.md", "pixel") == [f"{band.resolution} m" for band in BANDS]


@pytest.mark.parametrize("name", ["edsr_4x32", "carn_3x3x64g4sw"])
def test_the_cost_of_margins_is_that_of_the_cards(name):
    margin = openeo_superres.load_card(name).margin
    ratios = [f"{(1 + 2 * margin / size) ** 2:.2f}" for size in (128, 256, 512, 1024)]
    assert row("tiling.md", f"`{name}` ({margin})") == ratios


def test_the_parts_of_the_margin_sum_up():
    parts = ["the network", "the consistency layer", "filling nodata", "alignment"]
    sizes = [int(row("tiling.md", part)[0]) for part in parts]
    assert sizes[2:] == [FILL_RADIUS, ALIGNMENT]
    margin = openeo_superres.load_card("edsr_4x32").margin
    assert sum(sizes) == margin == int(row("tiling.md", "**margin**")[0])


# ---- links


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("see [the licence](../LICENSE).", "see the licence."),
        ("[one](../udf/openeo_superres), [two](openeo.md)", "one, [two](openeo.md)"),
        ("[gone](../udf/gone.py)", "[gone](../udf/gone.py)"),
        ("[web](https://zenodo.org) ![picture](images/speed.svg) [here](#limits)", None),
        ("[part](openeo.md#two-modes)", None),
    ],
)
def test_links_to_files_that_only_the_repository_has_become_text(written, shown):
    pages = {"docs/openeo.md", "docs/images/speed.svg"}
    assert hooks.without_source_links(written, ROOT / "docs", pages) == (shown or written)


def test_roles_in_docstrings_become_links_by_their_full_name():
    package = griffe.load("openeo_superres", search_paths=[str(ROOT / "udf")])
    scope = package["process.superresolve"]
    assert 'identifier="openeo_superres.process.load_sentinel2"' in hooks.linked("load_sentinel2", scope)
    assert 'identifier="elsewhere.name"' in hooks.linked("elsewhere.name", scope)


def test_no_role_is_left_in_what_is_shown(site):
    for path in (site / "docs/reference").glob("*.html"):
        html = path.read_text(encoding="utf-8")
        assert not re.search(r":(func|class|data|meth|mod):", html), path.name
        assert "<autoref" not in html


def test_a_broken_link_a_broken_anchor_and_a_page_without_a_place_end_the_build(tmp_path):
    root = tmp_path / "repository"
    for path in [*hooks.shown(), "docs/mkdocs.yml", "docs/hooks.py", "docs/site/extra.css"]:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, root / path)
    shutil.copyfile(ROOT / "docs/site/iframe-worker.js", root / "docs/site/iframe-worker.js")
    (root / "LICENSE").touch()
    (root / "udf").symlink_to(ROOT / "udf")
    with (root / "docs/limits.md").open("a", encoding="utf-8") as page:
        page.write("\n[nowhere](gone.md) [no such part](openeo.md#gone)\n")
    (root / "docs/orphan.md").write_text("# Orphan\n", encoding="utf-8")
    done = build(root, tmp_path / "site")
    assert done.returncode == 1
    warnings = [line for line in done.stderr.splitlines() if line.startswith(("WARNING", "  - "))]
    for said in ("'gone.md'", "docs/orphan.md", "openeo.md#gone"):
        assert any(said in line for line in warnings), (said, done.stderr)


# ---- what a reader's browser fetches


def test_pages_fetch_nothing_from_elsewhere(site):
    pages = [path for path in site.rglob("*.html") if "reports" not in path.parts]
    assert len(pages) > 30
    for path in pages:
        html = path.read_text(encoding="utf-8")
        links = [
            tag for tag in LINKED.findall(html) if "stylesheet" in tag or "preload" in tag or "icon" in tag
        ]
        for target in [*FETCHED.findall(html), *(HREF.search(tag)[1] for tag in links)]:
            assert not re.match(r"(https?:)?//", target), (path.name, target)
            if not target.startswith("data:"):
                base = site if target.startswith("/") else path.parent
                assert (base / target.lstrip("/")).resolve().is_file(), (path.name, target)
        assert "mermaid" not in html  # for which the theme would fetch a script
    for path in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", path.read_text(encoding="utf-8")), path.name


def test_the_search_works_without_a_server(site):
    assert (site / "search/search_index.js").read_text(encoding="utf-8").startswith("var __index")
    home = (site / "index.html").read_text(encoding="utf-8")
    assert "iframe-worker.js" in home
