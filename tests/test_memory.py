"""Chunks that fit into memory. No GPU is needed: a fake nvidia-smi and a fake session play one."""

import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeo_superres import ModelCard, load_card, memory, stream, udf
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
    assert memory.of_gpu() == 2 * GIB


@pytest.mark.parametrize(("visible", "asked"), [("", "0"), ("3,1", "3"), ("GPU-abc", "GPU-abc")])
def test_the_first_visible_gpu_is_asked(tmp_path, monkeypatch, visible, asked):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    smi(tmp_path, monkeypatch, f'[ "$1" = --id={asked} ] && echo 1')
    assert memory.of_gpu() == 1 << 20


@pytest.mark.parametrize("script", ["echo N/A", "exit 9", ":", "exec sleep 5"])
def test_nothing_is_known_where_nvidia_smi_does_not_tell(tmp_path, monkeypatch, script):
    monkeypatch.setattr(memory, "PATIENCE", 0.5)
    smi(tmp_path, monkeypatch, script)
    assert memory.of_gpu() is None


def test_nothing_is_known_without_nvidia_smi(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert memory.of_gpu() is None


@given(
    free=st.integers(1 << 20, 200 * GIB),
    margin=st.integers(8, 60),
    bytes_per_pixel=st.floats(500, 20_000),
    chunks=st.integers(1, 4),
)
def test_chunks_fit_and_no_larger_ones_would(free, margin, bytes_per_pixel, chunks):
    size = memory.largest_chunk(free, margin=margin, bytes_per_pixel=bytes_per_pixel, chunks=chunks)

    def taken(edge):
        return chunks * (edge + 2 * margin) ** 2 * bytes_per_pixel

    assert size % memory.STEP == 0
    assert size == memory.STEP or taken(size) <= free / 2
    # a pixel more or less is rounding
    assert size == memory.LARGEST or taken(size + memory.STEP + 1) > free / 2


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(stream.os, "sched_getaffinity", lambda _pid: {0, 1}, raising=False)


def model(provider):
    return Model("fake", 2, 34, BAND_NAMES, (0.0,) * 10, lambda image: image, provider)


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize(
    ("name", "memory_of_host", "size"),
    [
        ("edsr_4x32", None, 512),
        ("edsr_4x32", 80 * GIB, 512),
        ("edsr_4x32", 2 * GIB, 512),
        ("edsr_4x32", GIB, 384),
        ("carn_3x3x64g4sw", 24 * GIB, 512),
        ("carn_3x3x64g4sw", 4 * GIB, 256),
    ],
)
def test_chunks_on_a_cpu_are_of_the_size_that_was_measured_where_they_fit(
    monkeypatch, name, memory_of_host, size
):
    monkeypatch.setattr(memory, "of_gpu", lambda: pytest.fail("no GPU is asked"))
    monkeypatch.setattr(memory, "of_host", lambda: memory_of_host)
    fake = Model("fake", 2, load_card(name).margin, BAND_NAMES, (0.0,) * 10, lambda image: image)
    assert stream.chunk_size(fake, load_card(name), 2) == size


def test_memory_of_the_host_is_a_containers_if_it_has_less(tmp_path, monkeypatch):
    whole = memory.of_host()
    assert whole is None or whole > GIB
    monkeypatch.setattr(memory, "LIMITS", (tmp_path / "max", tmp_path / "none"))
    (tmp_path / "max").write_text("max\n")
    without = memory.of_host()
    (tmp_path / "max").write_text("1000000\n")
    assert memory.of_host() == 1_000_000
    assert without is None or without >= (whole or 0)


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize(("free", "size"), [(None, 512), (GIB, 384), (8 * GIB, 1280), (80 * GIB, 2048)])
def test_chunks_on_a_gpu_follow_its_memory(monkeypatch, free, size):
    monkeypatch.setattr(memory, "of_gpu", lambda: free)
    assert stream.chunk_size(model("cuda"), load_card("edsr_4x32"), 2) == size


def test_chunks_of_a_model_whose_needs_are_not_known_stay_small(monkeypatch, nearest_card: ModelCard):
    monkeypatch.setattr(memory, "of_gpu", lambda: 80 * GIB)
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
