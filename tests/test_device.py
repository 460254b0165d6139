# ruff: noqa: E402
"""Where a training is computed. No GPU is needed: fakes play CUDA, torch's "meta" plays another device."""

import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the train extra is not installed: make train-setup")

from training import device, train
from training.datasets import Source
from training.degradation import Pair
from training.losses import loss_of
from training.networks import build
from training.recipe import Recipe

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("one_torch_thread")]

META = torch.device("meta")


@pytest.mark.parametrize(
    ("available", "asked", "chosen"),
    [
        (True, "auto", "cuda"),
        (True, "cuda", "cuda"),
        (True, "cpu", "cpu"),
        (False, "auto", "cpu"),
        (False, "cpu", "cpu"),
    ],
)
def test_device_is_the_one_that_was_asked_for(available, asked, chosen, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert device.choose(asked).type == chosen


def test_cuda_that_is_missing_is_said_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["train", "edsr_1x8", "--data", str(tmp_path), "--device", "cuda"])
    with pytest.raises(SystemExit) as stopped:
        train.main()
    assert stopped.value.code == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "CUDA was asked for, but torch" in message
    assert "use --device cpu, or install" in message


@pytest.mark.parametrize(
    ("kind", "supported", "precision"),
    [("cpu", True, "float32"), ("cuda", True, "bfloat16"), ("cuda", False, "float32")],
)
def test_precision_follows_the_device(kind, supported, precision, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: supported)
    assert device.precision_for(torch.device(kind)) == precision


def test_autocast_is_the_devices(monkeypatch):
    """And it is the network's alone."""
    asked = []

    def autocast(kind, dtype):
        asked.append((kind, dtype))
        return lambda forward: forward

    monkeypatch.setattr(torch, "autocast", autocast)
    recipe = Recipe("edsr_1x8", steps=1, precision="bfloat16")
    for place in (train.CPU, META):
        train.Training(recipe, [], place=place)
    assert asked == [("cpu", torch.bfloat16), ("meta", torch.bfloat16)]


def test_copies_to_cuda_are_pinned_and_do_not_wait(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: calls.append("pinned") or tensor)
    monkeypatch.setattr(
        torch.Tensor, "to", lambda tensor, place, **options: calls.append((place.type, options)) or tensor
    )
    pair = Pair(*(torch.zeros(1, bands, 4, 4) for bands in (10, 4, 6)), 2)
    pair.to(torch.device("cuda"))
    assert calls == 3 * ["pinned", ("cuda", {"non_blocking": True})]
    calls.clear()
    pair.to(train.CPU)
    assert calls == 3 * [("cpu", {"non_blocking": False})]


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("name", ["edsr_1x8", "carn_1x2x4g4sw"])
def test_nothing_is_left_on_the_processor(name, factor):
    """Tensors on two devices don't mix: network, layer, loss, gradients and the sensor model are on one."""
    model = build(name).to(META)
    shapes = (2, 10, 32, 32), (2, 4, 64, 64), (2, 6, 64 // factor, 64 // factor)
    pair = Pair(*(torch.zeros(shape) for shape in shapes), factor).to(META)
    loss = loss_of(model, pair, 0.1)
    assert loss.device == META
    loss.backward()
    assert all(p.grad.device == META for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", ["edsr_1x8", "carn_1x2x4g4sw"])
def test_a_whole_step_elsewhere(name, sample, monkeypatch):
    """Crops, pairs, both losses, clipping, optimiser and average; only the loss's number cannot come back."""
    x10, x20 = (part[None, :, :128, :128].astype(np.int16) for part in sample)
    source = Source("a", x10, x20[..., :64, :64], 1)
    training = train.Training(Recipe(name, steps=2, batch=1, crop=32), [source], place=META)
    monkeypatch.setattr(torch.Tensor, "item", lambda _: 1.0)
    for _ in range(2):
        training.advance()
    assert {tensor.device for tensor in training.average.state_dict().values()} == {META}
    moments = {key: tensor.device for key, tensor in training.optimiser.state().items() if "step" not in key}
    assert set(moments.values()) == {META}
