"""Chunks for a GPU. None is needed: a fake nvidia-smi and a fake session play one."""

import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeo_superres import ModelCard, gpu, load_card, stream, udf
from openeo_superres.sensor import BAND_NAMES
from openeo_superres.udf import Model

GIB = 1 << 30


def smi(folder, monkeypatch, script):
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_free_memory_is_what_nvidia_smi_says(tmp_path, monkeypatch):
    smi(tmp_path, monkeypatch, "echo 2048")
    assert gpu.free_memory() == 2 * GIB


@pytest.mark.parametrize(("visible", "asked"), [("", "0"), ("3,1", "3"), ("GPU-abc", "GPU-abc")])
def test_the_first_visible_gpu_is_asked(tmp_path, monkeypatch, visible, asked):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    smi(tmp_path, monkeypatch, f'[ "$1" = --id={asked} ] && echo 1')
    assert gpu.free_memory() == 1 << 20


@pytest.mark.parametrize("script", ["echo N/A", "exit 9", ":", "exec sleep 5"])
def test_nothing_is_known_where_nvidia_smi_does_not_tell(tmp_path, monkeypatch, script):
    monkeypatch.setattr(gpu, "PATIENCE", 0.5)
    smi(tmp_path, monkeypatch, script)
    assert gpu.free_memory() is None


def test_nothing_is_known_without_nvidia_smi(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu.free_memory() is None


@given(
    free=st.integers(1 << 20, 200 * GIB),
    margin=st.integers(8, 60),
    bytes_per_pixel=st.floats(500, 20_000),
    chunks=st.integers(1, 4),
)
def test_chunks_fit_and_no_larger_ones_would(free, margin, bytes_per_pixel, chunks):
    size = gpu.chunk_size(free, margin=margin, bytes_per_pixel=bytes_per_pixel, chunks=chunks)

    def taken(edge):
        return chunks * (edge + 2 * margin) ** 2 * bytes_per_pixel

    assert size % gpu.STEP == 0
    assert size == gpu.STEP or taken(size) <= free / 2
    # a pixel more or less is rounding
    assert size == gpu.LARGEST or taken(size + gpu.STEP + 1) > free / 2


def model(provider):
    return Model("fake", 2, 34, BAND_NAMES, (0.0,) * 10, lambda image: image, provider)


def test_chunks_on_a_cpu_are_of_the_size_that_was_measured(monkeypatch):
    monkeypatch.setattr(gpu, "free_memory", lambda: pytest.fail("no GPU is asked"))
    assert stream.chunk_size(model("cpu"), load_card("edsr_4x32")) == stream.SIZE


@pytest.mark.parametrize(("free", "size"), [(None, 512), (GIB, 256), (8 * GIB, 1280), (80 * GIB, 2048)])
def test_chunks_on_a_gpu_follow_its_memory(monkeypatch, free, size):
    monkeypatch.setattr(gpu, "free_memory", lambda: free)
    assert stream.chunk_size(model("cuda"), load_card("edsr_4x32")) == size


def test_chunks_of_a_model_whose_needs_are_not_known_stay_small(monkeypatch, nearest_card: ModelCard):
    monkeypatch.setattr(gpu, "free_memory", lambda: 80 * GIB)
    assert stream.chunk_size(model("cuda"), nearest_card) == stream.SIZE


@pytest.mark.parametrize("starts", [True, False])
def test_a_model_says_where_it_runs(monkeypatch, recwarn, starts):
    """An onnxruntime with CUDA, on a machine where its driver works, and where it does not."""
    facts = {"name": "fake", "scale": "2", "margin": "8", "bands": "B02", "fill": "0"}
    asked = []

    class Session:
        def __init__(self, _weights, _options, providers):
            asked[:] = providers

        def get_providers(self):
            return asked if starts else ["CPUExecutionProvider"]

        def get_modelmeta(self):
            return types.SimpleNamespace(custom_metadata_map=facts)

        def get_inputs(self):
            return [types.SimpleNamespace(name="input")]

        get_outputs = get_inputs

        def run(self, _names, feeds):
            return [np.asarray(feeds["input"])]

    runtime = types.SimpleNamespace(
        SessionOptions=types.SimpleNamespace,
        InferenceSession=Session,
        get_available_providers=lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"],
    )
    monkeypatch.setattr(udf, "_import_onnxruntime", lambda: runtime)
    opened = udf._open(b"", "cuda", 1)
    assert asked == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert opened.provider == ("cuda" if starts else "cpu")
    assert len(recwarn) == (not starts)
