"""What the package offers, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import openeo_superres


def test_public_names():
    assert openeo_superres.__all__ == [
        "DEFAULT_MODEL",
        "ModelCard",
        "SuperresError",
        "__version__",
        "build_process",
        "job_options",
        "list_models",
        "load_card",
        "load_sentinel2",
        "save_options",
        "superresolve",
        "superresolve_local",
        "superresolve_scene",
    ]
    assert all(getattr(openeo_superres, name) for name in openeo_superres.__all__)
    assert {*openeo_superres.__all__} <= {*dir(openeo_superres)}
    with pytest.raises(AttributeError, match="no attribute 'upscale'"):
        _ = openeo_superres.upscale


def test_import_needs_no_extra():
    """Neither what reads rasters nor what trains; and no session before one is needed."""
    extras = "{'rasterio', 'rioxarray', 'click', 'rich', 'PIL', 'torch', 'onnx', 'onnxruntime'}"
    code = f"import sys, openeo_superres; sys.exit(str({extras} & set(sys.modules) or ''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
