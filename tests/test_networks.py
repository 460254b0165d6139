# ruff: noqa: E402
"""The networks of Michel and Kalinicheva (2024): size, structure, margins, and their way to pixels by ONNX.

Width decides neither structure nor margin: narrow twins of the seven stand for them where it costs time.
"""

import json
import re

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="the train extra is not installed: make train-setup")

from torch import nn

from openeo_superres import load_card, superresolve_local
from openeo_superres.evaluate import consistency
from openeo_superres.sensor import BANDS, upsample_cubic
from openeo_superres.udf import ALIGNMENT, FILL_RADIUS, superresolve_chunk
from training import degradation, describe, export, shrink
from training.carn import CarnUnit, Cascade
from training.datasets import Crops, Source
from training.esrgan import Dense
from training.layers import TenMetres
from training.networks import SLIDES, build
from training.optimiser import Optimiser
from training.train import Recipe, Training, loss_of, rate_at

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("one_torch_thread")]

FACTS = {
    "carn_1x3x64g4sw": (1_243_530, 37),
    "carn_2x3x64g4sw": (1_867_914, 43),
    "carn_3x3x64g4sw": (2_492_298, 49),
    "carn_4x3x64g4sw": (3_116_682, 55),
    "carn_3x3x64g4": (4_659_594, 49),
    "carn_3x3x64g1sw": (5_146_506, 49),
    "esrgan_3x64x32": (2_280_662, 77),
}
"""Name -> parameters, as the slides count them, and margin in 10 m pixels."""
SLIDES_MARGIN = {
    "carn_1x3x64g4sw": 17,
    "carn_2x3x64g4sw": 29,
    "carn_3x3x64g4sw": 41,
    "carn_4x3x64g4sw": 53,
    "carn_3x3x64g4": 41,
    "carn_3x3x64g1sw": 41,
}
"""What the slides say of the bare network, in 5 m pixels: no layer, no upsampling of the 20 m bands."""


def twin(name):
    """The same network, a sixteenth as wide."""
    return name.replace("x64", "x4").replace("x32", "x2")


TWINS = tuple(map(twin, SLIDES))
FULL_SIZE = "carn_1x3x64g4sw"


def random_network(name):
    """Random weights, as they are stored, that add a detail of about 100 DN."""
    torch.manual_seed(0)
    model = build(name).eval()
    model.network.exit.reset_parameters()
    with torch.no_grad():
        spread = model.network(torch.randn(1, len(BANDS), 32, 32)).std()
        for name_, parameter in model.named_parameters():
            scaled = parameter * 0.1 / spread if ".exit." in name_ else parameter
            parameter.copy_(scaled.half().float() if parameter.requires_grad else parameter)
    return model


@pytest.fixture(scope="module")
def cards(tmp_path_factory):
    """Name -> torch model and the card of its exported ONNX."""
    folder = tmp_path_factory.mktemp("networks")
    result = {}
    for name in (*TWINS, FULL_SIZE):
        model, path = random_network(name), folder / f"{name}.onnx"
        export.to_onnx(model, name, path)
        text = json.dumps(export.card(model, name, path, {"method": "none"}))
        path.with_suffix(".json").write_text(text)
        result[name] = model, load_card(path.with_suffix(".json"))
    return result


# ---- what they are


def test_names():
    assert set(FACTS) == set(SLIDES)


@pytest.mark.parametrize("name", SLIDES)
def test_parameters_and_margin(name):
    parameters, margin = FACTS[name]
    assert describe.describe(name) == {"name": name, "parameters": parameters, "margin": margin}
    assert build(twin(name)).margin == margin


@pytest.mark.parametrize("name", SLIDES_MARGIN)
def test_margin_contains_the_one_of_the_slides(name):
    network = build(twin(name)).network
    assert network.margin - TenMetres.reach == (SLIDES_MARGIN[name] + 1) // 2


def test_scales_of_esrgan_count_but_do_not_learn():
    model = build(twin("esrgan_3x64x32"))
    fixed = {name: p for name, p in model.named_parameters() if not p.requires_grad}
    assert len(fixed) == 12
    assert all(p.numel() == 1 and p.item() == pytest.approx(0.2) for p in fixed.values())
    assert not fixed.keys() & export.learnt_names(model)


def test_units_of_a_block_are_one_where_the_name_says_so():
    shared, own = (build(f"carn_2x3x4g4{suffix}").network.body for suffix in ("sw", ""))
    assert [len(block.units) for block in shared.units] == [1, 1]
    assert [len(block.units) for block in own.units] == [3, 3]
    # the joints are never shared
    assert [len(block.joints) for block in (*shared.units, *own.units, shared, own)] == [3, 3, 3, 3, 2, 2]


def test_groups_must_divide_the_width():
    with pytest.raises(ValueError, match="groups"):
        build("carn_1x1x1g3")


def test_cascade_is_the_sum_written_out():
    torch.manual_seed(0)
    units = [CarnUnit(8, 2) for _ in range(3)]
    cascade = Cascade(units, 8, 3)
    one, two, three = cascade.joints
    x = torch.randn(1, 8, 6, 7)
    with torch.no_grad():
        u1 = units[0](x)
        o1 = one(u1) + x
        u2 = units[1](o1)
        o2 = two(u2) + x + u1
        u3 = units[2](o2)
        expected = three(u3) + x + u1 + u2
        torch.testing.assert_close(cascade(x), expected)


def test_carn_unit_written_out():
    torch.manual_seed(0)
    unit = CarnUnit(8, 4)
    x = torch.randn(1, 8, 6, 7)
    with torch.no_grad():
        hidden = nn.functional.conv2d(x, unit.first.weight, unit.first.bias, padding=1, groups=4)
        hidden = torch.where(hidden > 0, hidden, 0.2 * hidden)
        hidden = nn.functional.conv2d(hidden, unit.second.weight, unit.second.bias, padding=1, groups=4)
        hidden = torch.where(hidden > 0, hidden, 0.2 * hidden)
        total = x + nn.functional.conv2d(hidden, unit.mix.weight, unit.mix.bias)
        torch.testing.assert_close(unit(x), torch.where(total > 0, total, 0.2 * total))


def test_dense_block_sees_all_before_it():
    """Five layers; the fifth has an activation, too: nothing falls below a fifth of what it would be."""
    dense = Dense(6, 3)
    assert [(layer.in_channels, layer.out_channels) for layer in dense.layers] == [
        (6, 3),
        (9, 3),
        (12, 3),
        (15, 3),
        (18, 6),
    ]
    for layer in dense.layers:
        nn.init.zeros_(layer.weight)
        nn.init.constant_(layer.bias, -1.0)
    with torch.no_grad():
        output = dense(torch.randn(1, 6, 4, 4))
    torch.testing.assert_close(output, torch.full_like(output, -0.2))


def test_coarse_bands_are_upsampled_to_ten_metres(image):
    part = np.ascontiguousarray(image[:, :48, :64])
    with torch.no_grad():
        output = TenMetres()(torch.from_numpy(part)[None])[0].numpy()
    np.testing.assert_array_equal(output[:4], part[:4])
    expected = upsample_cubic(part[4:, ::2, ::2], 2)
    inner = (slice(None), slice(4, -4), slice(4, -4))
    np.testing.assert_allclose(output[4:][inner], expected[inner], rtol=2e-6, atol=0.01)


@pytest.mark.parametrize("name", ["carn_1x2x4g4sw", "esrgan_1x4x2"])
def test_untrained_network_is_the_model_without_learning(name, image):
    part = torch.from_numpy(np.ascontiguousarray(image[None, :, :32, :48]))
    with torch.no_grad():
        assert torch.equal(build(name)(part), build("cubic_mtf")(part))


# ---- margins and pixels, proved on the exported ONNX


def influence(model, size, cell, value):
    """Which 10 m pixels of the output change when one 20 m cell of the input does."""
    image = np.random.default_rng(0).uniform(500, 4000, (1, 10, size // 2, size // 2)).astype(np.float32)
    image = image.repeat(2, axis=2).repeat(2, axis=3)
    changed = image.copy()
    changed[:, :, cell : cell + 2, cell : cell + 2] = value
    different = ~(model.run(image) == model.run(changed))  # NaN is different
    return different.reshape(10, size, 2, size, 2).any(axis=(0, 2, 4))


@pytest.mark.parametrize("name", TWINS)
def test_nothing_beyond_the_margin_matters(cards, name):
    """NaN survives any convolution and shows the whole structure: the margin is reached but for a pixel.

    The pixel: the margin adds up the reaches of all parts, whole cells for the cubic.
    """
    model = cards[name][1].open(provider="cpu", threads=1)
    reach = model.margin - ALIGNMENT - FILL_RADIUS
    cell = reach + 3 - (reach + 3) % 2
    rows, columns = np.nonzero(influence(model, 2 * reach + 8, cell, np.nan))
    distance = np.max([cell - rows, rows - cell - 1, cell - columns, columns - cell - 1])
    assert reach - 1 <= distance <= reach


@pytest.mark.parametrize("name", [*TWINS, FULL_SIZE])
def test_tiled_equals_whole(cards, cube, name):
    """The whole through superresolve_local; windows of any phase, with their margin, give its pixels."""
    card = cards[name][1]
    margin, size = card.margin, 16
    edge = 2 * margin + size + 8
    scene = cube[:, 100 : 100 + edge, 200 : 200 + edge].copy()
    holes = np.random.default_rng(0).random(scene.shape[1:]) < 0.02
    scene.values[:, holes] = np.nan
    path = card.path.with_suffix(".json")
    whole = superresolve_local(scene, path, size=edge + edge % 2, provider="cpu", threads=1)
    assert whole.shape == (10, 2 * edge, 2 * edge)
    assert list(whole["bands"].values) == [band.name for band in BANDS]
    np.testing.assert_array_equal(np.isnan(whole[0]), holes.repeat(2, axis=0).repeat(2, axis=1))
    model = card.open(provider="cpu", threads=1)
    for top, left in ((0, 8), (3, 2)):
        window = scene.values[:, top : top + size + 2 * margin, left : left + size + 2 * margin]
        tile = superresolve_chunk(window, model, phase=(top % 2, left % 2), overlap=margin)
        row, column = 2 * (top + margin), 2 * (left + margin)
        expected = whole.values[:, row : row + 2 * size, column : column + 2 * size]
        np.testing.assert_allclose(tile, expected, rtol=2e-6, atol=0.01)


@pytest.mark.parametrize("name", [*TWINS, FULL_SIZE])
def test_onnx_is_the_network_in_the_contract(cards, image, name):
    model, card = cards[name]
    assert card.margin == model.margin
    assert card.parameters == model.parameter_count
    proto = onnx.load(card.path)
    assert proto.ir_version == 8
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 17)]
    halves = {t.name for t in proto.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16}
    assert halves == {f"{learnt}.float16" for learnt in export.learnt_names(model)}
    part = image[:, 64:112, 32:96].copy()
    assert export.parity(model, card.path, part) <= export.PARITY
    output = card.open(provider="cpu", threads=1).run(part[None])[0]
    with torch.no_grad():
        base = build("cubic_mtf")(torch.from_numpy(part)[None])[0].numpy()
    assert (output - base).std() > 5
    assert consistency(output, part).max() < 5


# ---- how they are trained


@pytest.fixture
def sources(sample):
    x10, x20 = (part.astype(np.int16) for part in sample)
    return [Source("a", x10[None, :, :128, :128], x20[None, :, :64, :64], weight=1)]


@pytest.mark.parametrize("name", ["carn_1x2x4g4sw", "esrgan_1x4x2"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_learns(sources, name, precision):
    """From the model without learning, a twentieth off the loss of unseen pairs; what isn't trained stays."""
    recipe = Recipe(name, steps=30, batch=4, crop=32, rate=1e-2, warmup=5, average=0.5, precision=precision)
    training = Training(recipe, sources)
    pair = degradation.wald_pair(*Crops(sources, 9).draw(8, 32), 2, np.random.default_rng(0))
    with torch.no_grad():
        before = loss_of(training.model, pair).item()
        for _ in range(recipe.steps):
            with torch.enable_grad():
                training.advance()
        after = loss_of(training.average, pair).item()
    assert after < 0.95 * before
    for model in (training.model, training.average):
        for parameter in model.parameters():
            assert parameter.dtype == torch.float32
            assert parameter.requires_grad or parameter.item() == pytest.approx(0.2)


def test_bfloat16_spares_the_layer(sources):
    """Only the network is computed in it: without detail, the output is the one in float32."""
    recipe = Recipe("carn_1x2x4g4sw", steps=1, batch=1, crop=32, precision="bfloat16")
    model = Training(recipe, sources).model
    x = torch.rand(1, 10, 16, 16) * 4000
    with torch.no_grad():
        assert model.network(x / 4000).dtype == torch.bfloat16
        assert torch.equal(model(x), build("cubic_mtf")(x))


def test_optimiser_takes_each_group_as_a_matrix():
    """The update of a group is orthogonal whatever the others' gradients are."""
    torch.manual_seed(0)
    grouped, alone = nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(4, 4, 3)
    with torch.no_grad():
        alone.weight.copy_(grouped.weight[4:])
    optimisers = [Optimiser(nn.Sequential(conv)) for conv in (grouped, alone)]
    for _ in range(2):
        gradient = torch.randn(8, 4, 3, 3)
        grouped.weight.grad, alone.weight.grad = gradient, gradient[4:].clone()
        grouped.bias.grad, alone.bias.grad = torch.ones(8), torch.ones(4)
        for optimiser in optimisers:
            optimiser.step(1e-2)
    torch.testing.assert_close(grouped.weight[4:], alone.weight)
    state = optimisers[0].state()
    momenta = {key: tuple(value.shape) for key, value in state.items() if key.startswith("momentum")}
    assert momenta == {"momentum_buffer.0.weight.0": (4, 36), "momentum_buffer.0.weight.1": (4, 36)}
    optimisers[0].load(state)


def test_constant_rate_falls_at_the_end_only():
    """So a resumed training may get more steps, or be asked to end, without a jump before the last part."""
    recipe = Recipe("edsr_1x8", steps=1000, rate=1e-3, warmup=100, settling=0.2, schedule="constant")
    rates = [rate_at(step, recipe) for step in range(1001)]
    assert set(rates[100:801]) == {1e-3}
    assert np.all(np.diff(rates[:100]) > 0)
    assert np.all(np.diff(rates[801:]) < 0)
    assert rates[900] == pytest.approx(1e-3 * (0.02 + 0.98 / 2))
    assert rates[1000] == rate_at(5000, recipe) == pytest.approx(2e-5)


@pytest.mark.parametrize("name", ["carn_1x2x4g4sw", "esrgan_1x4x2"])
def test_training_resumes_bit_by_bit(sources, tmp_path, name):
    recipe = Recipe(name, steps=6, batch=2, crop=32, warmup=2, schedule="constant", precision="bfloat16")
    first, resumed = Training(recipe, sources), Training(recipe, sources)
    for _ in range(3):
        first.advance()
    first.save(tmp_path / "checkpoint.safetensors")
    resumed.load(tmp_path / "checkpoint.safetensors")
    assert [first.advance() for _ in range(3)] == [resumed.advance() for _ in range(3)]
    for tensor, other in zip(first.average.parameters(), resumed.average.parameters(), strict=True):
        assert torch.equal(tensor, other)


def test_checkpoint_made_before_an_option_came_is_resumed(sources, tmp_path, monkeypatch):
    """What its recipe doesn't name has the default."""
    recipe = Recipe("edsr_1x8", steps=4, batch=2, crop=32)
    training = Training(recipe, sources)
    training.advance()
    old = {"name": "edsr_1x8", "steps": 4, "batch": 2, "crop": 32}
    monkeypatch.setattr("training.train.asdict", lambda _: old)
    training.save(tmp_path / "checkpoint.safetensors")
    monkeypatch.undo()
    Training(recipe, sources).load(tmp_path / "checkpoint.safetensors")


def test_small_checkpoint_exports_the_same_and_can_be_resumed(sources, tmp_path, monkeypatch, capsys):
    recipe = Recipe("carn_1x2x4g4sw", steps=4, batch=2, crop=32)
    training = Training(recipe, sources)
    training.advance()
    whole, small = tmp_path / "checkpoint.safetensors", tmp_path / "small.safetensors"
    training.save(whole)
    monkeypatch.setattr("sys.argv", ["shrink", str(whole), str(small)])
    shrink.main()
    assert re.fullmatch(rf"{small}: {small.stat().st_size} bytes\n", capsys.readouterr().out)
    assert small.stat().st_size < whole.stat().st_size / 3
    assert export.provenance(small) == export.provenance(whole)
    ours, theirs = (export.load_average(recipe.name, path).state_dict() for path in (small, whole))
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    resumed = Training(recipe, sources)
    resumed.load(small)
    assert resumed.step == 1
    for name, tensor in ours.items():
        assert torch.equal(resumed.model.state_dict()[name], tensor)
    assert np.isfinite(resumed.advance())


def test_shrinking_what_is_no_checkpoint(tmp_path, monkeypatch, capsys):
    (tmp_path / "text").write_text("no checkpoint")
    monkeypatch.setattr("sys.argv", ["shrink", str(tmp_path / "text"), str(tmp_path / "small")])
    with pytest.raises(SystemExit) as stopped:
        shrink.main()
    assert stopped.value.code == 2
    assert "error:" in capsys.readouterr().err
    assert not (tmp_path / "small").exists()
