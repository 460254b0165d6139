# ruff: noqa: E402
"""GAN fine-tuning: filter, discriminator, losses, steps, and the choice among candidates (torch)."""

import json
import math
import sys
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the train extra is not installed: make train-setup")

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from openeo_superres import load_card
from openeo_superres.evaluate import bicubic, consistency, wald_pair
from openeo_superres.sensor import BANDS_10M, BANDS_20M, degrade, upsample_cubic
from training import export, finetune, naturalness, progress, train
from training.adversarial import accuracy, discriminator_loss, generator_loss
from training.datasets import Source
from training.discriminator import BORDER, Discriminator, HighPass
from training.finetune import FineTuning, Recipe
from training.pattern import phase_deviations
from training.shrink import shrink
from training.train import Training

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("one_torch_thread")]

TINY = Recipe("edsr_1x8", steps=8, batch=2, crop=32, warmup=2, features=4)
INNER = (..., slice(BORDER, -BORDER), slice(BORDER, -BORDER))


@pytest.fixture(scope="module")
def sources(sample):
    x10, x20 = (part.astype(np.int16) for part in sample)
    return [Source("a", x10[None, :, :192, :192], x20[None, :, :96, :96], weight=1)]


@pytest.fixture(scope="module")
def base(sources, tmp_path_factory):
    """Checkpoint of a short training."""
    training = Training(train.Recipe("edsr_1x8", steps=20, batch=4, crop=32, rate=1e-2, warmup=2), sources)
    for _ in range(20):
        training.advance()
    path = tmp_path_factory.mktemp("base") / "checkpoint.safetensors"
    training.save(path)
    return path


@pytest.fixture(scope="module")
def data(sample, tmp_path_factory):
    """A data folder with one small training source and a small development scene."""
    folder = tmp_path_factory.mktemp("data")
    x10, x20 = (part.astype(np.uint16) for part in sample)
    (folder / "eurosat-l2a-testset").mkdir()
    file = folder / "eurosat-l2a-testset/train_0.npz"
    np.savez(file, x10=x10[None, :, :192, :192], x20=x20[None, :, :96, :96])
    (folder / "dsen2-l1c").mkdir()
    scene = folder / "dsen2-l1c/S2A_MSIL1C_20170527_T33UUB.npz"
    np.savez(scene, x10=x10[:, 256:384, :128], x20=x20[:, 128:192, :64])
    return folder


@pytest.fixture
def interpreter(tmp_path):
    """Stands for the one of BRISQUE's environment: gives less, the more contrast pixels have to the next."""
    path = tmp_path / "python"
    path.write_text(
        f"#!{sys.executable}\n"
        "import json, sys\nimport numpy as np\n"
        "paths = [a for a in sys.argv if a.endswith('.npy')]\n"
        "pictures = [np.load(path).astype(float) for path in paths]\n"
        "print('noise of a library')\n"
        "print(json.dumps([100 - np.abs(np.diff(p, axis=0)).mean() for p in pictures]))\n"
    )
    path.chmod(0o755)
    return path


def call(monkeypatch, main, *arguments):
    """Run an entry point in this process."""
    monkeypatch.setattr(sys, "argv", [main.__module__, *map(str, arguments)])
    main()


def weights(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(ours, theirs):
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def energy(image):
    """RMS of what the high-pass filter leaves of ``(10, y, x)``."""
    return HighPass()(torch.as_tensor(image)[None])[INNER].square().mean().sqrt().item()


# ---- what the discriminator sees


def test_high_pass_takes_out_what_is_coarse(image):
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    filtered = HighPass()
    for wave, low, high in (
        (torch.ones(64, 64), 0, 1e-5),
        (0.01 * x - 0.02 * y, 0, 0.01),
        (torch.sin(2 * math.pi * x / 32), 0, 0.03),
        (torch.sin(2 * math.pi * x / 2 + 1), 0.9, 1.1),
        ((-1.0) ** (x + y), 0.99, 1.01),
    ):
        left = filtered(wave.expand(1, 10, 64, 64))[INNER].square().mean().sqrt()
        assert low <= left / wave[INNER].square().mean().sqrt() <= high
    # real: most of the energy of a blurred image lies in what is taken out
    fine = image[:, :64, :64] - image[:, :64, :64].mean(axis=(1, 2), keepdims=True)
    blurred = upsample_cubic(upsample_cubic(fine[:, ::4, ::4], 2), 2)
    assert energy(blurred) < 0.05 * blurred.std()
    assert energy(fine) > 2 * energy(blurred)


def test_blur_of_the_high_pass_has_its_mtf():
    """At the Nyquist frequency of pixels twice as large, seen at their centres."""
    wave = torch.cos(math.pi / 2 * (torch.arange(64.0) - 0.5)).expand(1, 10, 64, 64)
    torch.testing.assert_close(
        HighPass().down(wave)[INNER].abs(), torch.full((1, 10, 24, 24), 0.4), atol=0.01, rtol=0
    )


def test_discriminator_is_blind_to_what_the_filter_takes_out(image):
    torch.manual_seed(0)
    part = torch.from_numpy(image[:, :48, :48].copy())[None] / 1000
    judge = Discriminator(4).eval()
    assert judge(part).shape == (1, 1, 40, 40)
    torch.testing.assert_close(judge(part), judge(part + 3), atol=1e-3, rtol=0)
    sees_all = Discriminator(4, high_pass=False).eval()
    assert (sees_all(part) - sees_all(part + 3)).abs().max() > 0.01


def test_spectral_norms_are_bounded(image):
    """Even after steps that would make the weights a hundred times as large."""
    torch.manual_seed(0)
    part = torch.from_numpy(image[:, :48, :48].copy())[None] / 1000
    judge = Discriminator(4)
    bounded = [judge.entry, *judge.down, *judge.up, judge.body, judge.exit]
    with torch.no_grad():
        for convolution in bounded:
            convolution.parametrizations.weight.original.mul_(100)
        for _ in range(20):
            judge(part)
    for convolution in bounded:
        assert torch.linalg.matrix_norm(convolution.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.1)
    assert len(bounded) == 9


def test_discriminator_learns_to_tell_blurred_from_sharp(sample):
    torch.manual_seed(0)
    fine = sample[0][:, :256, :256]
    blurred = upsample_cubic(degrade(fine, BANDS_10M, 2), 2)
    rng = np.random.default_rng(0)

    def crops(scene):
        corners = rng.integers(0, 208, (4, 2))
        parts = np.stack([scene[:, r : r + 48, c : c + 48] for r, c in corners])
        return torch.from_numpy(np.concatenate([parts, parts, parts[:, :2]], axis=1)) / 500

    judge = Discriminator(4)
    adam = torch.optim.Adam(judge.parameters(), 5e-3)
    seen = []
    for _ in range(30):
        logits = judge.judge(crops(fine), crops(blurred))
        loss = discriminator_loss(*logits)
        loss.backward()
        adam.step()
        adam.zero_grad()
        seen.append(loss.item())
    assert seen[0] == pytest.approx(2 * math.log(2), rel=0.1)
    assert np.mean(seen[-5:]) < 0.7 * seen[0]
    assert accuracy(*logits) > 0.85


# ---- losses


def test_relativistic_losses_in_closed_form():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(1, 2, (2, 3, 1, 4, 4))
    sigmoid = [1 / (1 + np.exp(-(a - b.mean()))) for a, b in ((real, fake), (fake, real))]
    logits = torch.from_numpy(real), torch.from_numpy(fake)
    expected = -np.log(sigmoid[0]).mean() - np.log(1 - sigmoid[1]).mean()
    assert discriminator_loss(*logits).item() == pytest.approx(expected)
    expected = -np.log(sigmoid[1]).mean() - np.log(1 - sigmoid[0]).mean()
    assert generator_loss(*logits).item() == pytest.approx(expected)


def test_losses_without_a_difference_and_with_a_large_one():
    flat = torch.full((2, 1, 4, 4), 3.7)
    for loss in (discriminator_loss, generator_loss):
        assert loss(flat, flat).item() == pytest.approx(2 * math.log(2))
    assert discriminator_loss(flat, flat, 0.1).item() == pytest.approx(2 * math.log(2))
    assert discriminator_loss(flat + 1e4, flat).item() == pytest.approx(0, abs=1e-6)
    assert generator_loss(flat + 1e4, flat).item() == pytest.approx(2e4)
    assert accuracy(flat + 1, flat) == 1
    assert accuracy(flat - 1, flat) == 0


def test_only_differences_count():
    real, fake = torch.randn(2, 3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    for loss in (discriminator_loss, generator_loss):
        assert loss(real + 5, fake + 5).item() == pytest.approx(loss(real, fake).item(), rel=1e-5)


def test_label_smoothing_is_one_sided():
    """BCE(z, t) = softplus(z) - t z: s off the label of real images adds s E[C(r) - E[C(f)]]."""
    real, fake = torch.randn(2, 3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    added = discriminator_loss(real, fake, 0.1) - discriminator_loss(real, fake)
    assert added.item() == pytest.approx(0.1 * (real.mean() - fake.mean()).item(), rel=1e-4)
    # sureness beyond the label costs
    flat = torch.zeros(1, 1, 4, 4)
    sure = [discriminator_loss(flat + z, flat, 0.1) - discriminator_loss(flat + z, flat) for z in (3, 6)]
    assert sure[0] < sure[1]


# ---- fine-tuning


def test_what_is_real_and_what_is_not(sources, base, sample):
    """Real: 10 m bands degraded to 20 m, 20 m bands untouched. Not real: outputs, which carry gradients."""
    tuning = FineTuning(replace(TINY, quarter=0.0), sources, base)
    real, fake = tuning.images()
    assert real.shape == fake.shape == (2, 10, 16, 16)
    assert fake.requires_grad
    assert not real.requires_grad
    values = (real * tuning.model.std + tuning.model.mean).numpy()
    for index in range(len(BANDS_20M)):
        assert np.isin(values[:, len(BANDS_10M) + index].round(), sample[1][index, :96, :96]).all()
    fraction = np.abs(values - values.round()).mean(axis=(0, 2, 3))
    assert fraction[: len(BANDS_10M)].min() > 0.1
    assert fraction[len(BANDS_10M) :].max() < 0.01
    assert 0.05 < fake.std() < 5


def test_outputs_are_judged_by_their_middle(sources, base):
    tuning = FineTuning(TINY, sources, base)
    seen = []
    tuning.model.register_forward_hook(lambda _module, _input, output: seen.append(output))
    _, fake = tuning.images()
    expected = (seen[0] - tuning.model.mean) / tuning.model.std
    assert torch.equal(fake, expected[..., 8:24, 8:24])


def test_rate_warms_up(sources, base, monkeypatch):
    tuning = FineTuning(TINY, sources, base)
    rates = []
    monkeypatch.setattr(tuning.optimiser, "step", rates.append)
    for _ in range(3):
        tuning.advance()
    assert rates == [TINY.rate / 2, TINY.rate, TINY.rate]


def test_sharpness_is_relative_to_the_truth(sample):
    pair = wald_pair(sample[0][:, :64, :64], sample[1][:, :32, :32])
    truth = torch.from_numpy(np.concatenate([pair.target10, pair.target10, pair.target10[:2]]))[None]
    for contrast in (1, 2):
        assert progress.sharpness(lambda _, c=contrast: c * truth, pair) == pytest.approx(contrast, rel=1e-4)


def test_each_step_changes_and_moves_its_own_network_only(sources, base):
    tuning = FineTuning(replace(TINY, adversarial=1.0), sources, base)
    networks = tuning.model, tuning.discriminator
    real, fake = tuning.images()
    before = [weights(network) for network in networks]
    tuning.teach_discriminator(real, fake)
    assert same(weights(tuning.model), before[0])
    assert not same(weights(tuning.discriminator), before[1])
    assert all(parameter.grad is None for network in networks for parameter in network.parameters())
    learnt = [parameter.detach().clone() for parameter in tuning.discriminator.parameters()]
    pair = finetune.degradation.wald_pair(*tuning.crops.draw(1, 32), 2, tuning.crops.generator)
    tuning.teach_generator(pair, real, fake)
    assert not same(weights(tuning.model), before[0])
    assert all(map(torch.equal, learnt, tuning.discriminator.parameters()))
    assert all(parameter.grad is None for network in networks for parameter in network.parameters())


def test_start_is_the_averaged_base(sources, base):
    tuning = FineTuning(TINY, sources, base)
    prefix = "average."
    averaged = {k.removeprefix(prefix): v for k, v in load_file(base).items() if k.startswith(prefix)}
    for name, tensor in tuning.model.state_dict().items():
        torch.testing.assert_close(tensor, averaged[name], rtol=1e-3, atol=1e-7)
    assert tuning.base == export.provenance(base)


def test_resumed_fine_tuning_is_the_same(sources, base, tmp_path):
    """Bit for bit: both networks, the average, both optimisers, and the generator of crops and noise."""
    straight, first, resumed = (FineTuning(TINY, sources, base) for _ in range(3))
    facts = [straight.advance() for _ in range(6)]
    assert [first.advance() for _ in range(3)] == facts[:3]
    first.save(tmp_path / "checkpoint.safetensors")
    resumed.advance()
    resumed.load(tmp_path / "checkpoint.safetensors")
    assert resumed.step == 3
    assert [resumed.advance() for _ in range(3)] == facts[3:]
    for part in ("model", "average", "discriminator"):
        assert same(weights(getattr(resumed, part)), weights(getattr(straight, part))), part


def test_resuming_needs_the_same_recipe_and_base(sources, base, tmp_path):
    tuning = FineTuning(TINY, sources, base)
    tuning.advance()
    tuning.save(tmp_path / "checkpoint.safetensors")
    FineTuning(replace(TINY, steps=100), sources, base).load(tmp_path / "checkpoint.safetensors")
    other = FineTuning(replace(TINY, adversarial=0.01), sources, base)
    with pytest.raises(ValueError, match=r"'adversarial': 0\.005.* now .*'adversarial': 0\.01.*same options"):
        other.load(tmp_path / "checkpoint.safetensors")
    other = FineTuning(TINY, sources, base)
    other.base = {**other.base, "step": 3}
    with pytest.raises(ValueError, match="or another --output"):
        other.load(tmp_path / "checkpoint.safetensors")


def test_only_checkpoints_of_its_own_are_gone_on_with(sources, base, tmp_path):
    """Not in a folder where something else was trained, nor from a candidate."""
    tuning = FineTuning(TINY, sources, base)
    tuning.advance()
    path = tmp_path / "checkpoint.safetensors"
    tuning.save(path)
    with pytest.raises(ValueError, match=f"{path} is of a fine-tuning .*use another --output"):
        Training(train.Recipe("edsr_1x8", steps=20), sources).load(path)
    shrink(path, path)
    for other in (path, base):
        with pytest.raises(ValueError, match=f"{other} holds no discriminator to go on with"):
            tuning.load(other)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt, 130, "stopped; the same command goes on from"),
        (ValueError("all flat"), 2, "all flat"),
    ],
)
def test_what_ends_it_is_said_in_one_line(error, status, message, data, base, tmp_path, monkeypatch, capsys):
    def fail(_tuning):
        raise error

    monkeypatch.setattr(FineTuning, "advance", fail)
    options = ("--checkpoint", base, "--data", data, "--output", tmp_path, "--threads", 1)
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, finetune.main, "edsr_1x8", *options)
    assert stopped.value.code == status
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_more_detail_and_the_same_radiometry(sources, base, image):
    """With a large lambda the finest detail grows; what the sensor would see stays within 2 DN."""
    part = np.ascontiguousarray(image[:, 200:328, :128])

    def tuned(weight):
        tuning = FineTuning(replace(TINY, adversarial=weight, pattern=0, rate=3e-3), sources, base)
        for _ in range(25):
            tuning.advance()
        with torch.no_grad():
            return tuning.model(torch.from_numpy(part)[None])[0].numpy()

    faithful, detailed = tuned(1e-9), tuned(1.0)
    assert energy(detailed) > 1.1 * energy(faithful)
    assert consistency(detailed, part).mean() < naturalness.CONSISTENCY


# ---- the choice


def test_what_follows_the_grid_is_found_in_a_scene(image):
    """A pattern of 10 DN, and nothing else, is told from the scene's own texture."""
    part = torch.from_numpy(bicubic(image[:, :256, :256]))[None]
    pattern = torch.randn(10, 4, 4, generator=torch.Generator().manual_seed(0)) * 10
    pattern -= pattern.mean(dim=(1, 2), keepdim=True)
    found = phase_deviations(part + pattern.tile(1, 128, 128)) - phase_deviations(part)
    torch.testing.assert_close(found, pattern, atol=0.01, rtol=0)
    assert phase_deviations(part).abs().mean() < 3


def test_a_pattern_costs_the_generator(sources, base):
    """With a large weight, the step takes the network away from the pattern that its last layer makes."""
    steps = []
    for weight in (0.0, 1e5):
        recipe = replace(TINY, adversarial=1e-9, pattern=weight, warmup=1, rate=1e-2)
        tuning = FineTuning(recipe, sources, base)
        with torch.no_grad():
            tuning.model.network.exit.bias[::2] += 0.1
        steps.append([tuning.advance()["pattern"] for _ in range(8)])
    assert steps[0][0] == steps[1][0] > 1e-4
    assert steps[1][-1] < 0.9 * steps[0][-1]


def test_worst_image_decides_on_the_radiometry(base, image, monkeypatch):
    images = {
        name: np.ascontiguousarray(image[:, :32, :32]) + n for name, n in (("a", 0), ("b", 1), ("c", 0))
    }
    errors = iter((1.0, 3.0, 2.0))
    monkeypatch.setattr(naturalness, "consistency", lambda *_: np.full(10, next(errors)))
    monkeypatch.setattr(naturalness, "brisque", lambda drawn: [float(n) for n in range(len(drawn))])
    [row] = naturalness.assess([base], images)
    assert (row["consistency"], row["step"], row["brisque"]) == (3.0, 20, 9.0)


def test_choice_is_the_most_natural_that_keeps_the_radiometry():
    rows = [
        {"step": step, "brisque": brisque, "consistency": error, "pattern": pattern}
        for step, (brisque, error, pattern) in enumerate(
            (
                (-9.0, 0.5, 0.0),  # the start
                (-9.0, 2.1, 0.0),
                (-5.0, 2.0, 2.5),
                (-4.0, 0.5, 0.0),
                (-9.0, 0.5, 2.6),
                (math.nan, 0.1, 0.0),
            )
        )
    ]
    assert naturalness.choose(rows) == 2
    with pytest.raises(ValueError, match="No candidate keeps its consistency error within 2 DN"):
        naturalness.choose(rows[1:2])


def test_finetune_then_choose_then_export(data, base, interpreter, tmp_path, monkeypatch, capsys):
    """The three commands as a user chains them, with an interruption in between."""
    run = tmp_path / "run"
    monkeypatch.setattr(finetune, "Recipe", lambda *args, **options: replace(TINY, steps=args[1], **options))
    finetune.Recipe.adversarial, finetune.Recipe.batch, finetune.Recipe.rate = 0.005, 2, 2e-4
    options = [
        "edsr_1x8",
        "--checkpoint",
        base,
        "--data",
        data,
        "--output",
        run,
        "--every",
        1,
        "--threads",
        1,
    ]
    options += ["--adversarial", 0.5, "--batch", 2]
    call(monkeypatch, finetune.main, *options, "--steps", 2)
    assert "resumed" not in capsys.readouterr().out
    call(monkeypatch, finetune.main, *options, "--steps", 3)
    assert f"resumed from {run / 'checkpoint.safetensors'} at step 2\n" in capsys.readouterr().out
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [1, 2, 3]
    measured = {"gain10", "gain20", "consistency", "sharpness"}
    assert {"loss", "adversarial", "discriminator", "accuracy", "seconds"} | measured < set(log[-1])
    names = [f"step_00000{step}.safetensors" for step in range(4)]
    assert sorted(path.name for path in (run / "candidates").iterdir()) == names

    monkeypatch.setattr(naturalness, "DEVELOPMENT", ("T33UUB",))
    monkeypatch.setenv("SUPERRES_BRISQUE", str(interpreter))
    # a scene this small is a pattern of its own
    monkeypatch.setattr(naturalness, "PATTERN", math.inf)
    call(monkeypatch, naturalness.main, run, "--data", data, "--threads", 1)
    lines = capsys.readouterr().out.splitlines()
    rows = [json.loads(line) for line in lines[1:-1]]
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    assert rows[0]["brisque"] == pytest.approx(np.mean(list(rows[0]["composites"].values())), abs=0.02)
    assert rows[0]["brisque"] < 0
    best = min(rows[1:], key=lambda row: row["brisque"])
    assert lines[-1].startswith(f"chosen: step {best['step']}, ")

    chosen = run / "chosen.safetensors"
    with safe_open(chosen, framework="pt") as file:
        state = json.loads(file.metadata()["state"])
    assert state["choice"]["by"].startswith("BRISQUE")
    arguments = ("edsr_1x8", "--checkpoint", chosen, "--as", "edsr_1x8_gan", "--output", tmp_path / "model")
    call(monkeypatch, export.main, *arguments)
    card = load_card(tmp_path / "model/edsr_1x8_gan.json")
    assert card.name == "edsr_1x8_gan"
    properties = json.loads((tmp_path / "model/edsr_1x8_gan.json").read_text())["properties"]
    training = properties["superres:training"]
    assert training["method"] == finetune.METHOD
    assert (training["recipe"]["adversarial"], training["step"]) == (0.5, best["step"])
    assert training["choice"]["of"] == 3
    assert training["base"] == export.provenance(base)
    assert training["base"]["method"] == export.PRETRAINING
    assert properties["mlm:architecture"] == "edsr"
    assert card.open(provider="cpu", threads=1).run(np.ones((1, 10, 16, 16), np.float32)).shape == (
        1,
        10,
        32,
        32,
    )


# ---- entry points


@pytest.mark.parametrize("module", [finetune, naturalness], ids=lambda module: module.__name__)
def test_help(module, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, module.main, "--help")
    assert stopped.value.code == 0
    assert f"usage: python -m {module.__name__}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        (finetune, ["edsr_1x8", "--data", "{data}"], "the following arguments are required: --checkpoint"),
        (finetune, ["edsr_1x8", "--checkpoint", "{base}"], "say where the data folder is"),
        (finetune, ["edsr_4", "--checkpoint", "{base}", "--data", "{data}"], "Unknown network 'edsr_4'"),
        (
            finetune,
            ["edsr_2x8", "--checkpoint", "{base}", "--data", "{data}"],
            "not hold the weights of edsr_2x8",
        ),
        (finetune, ["edsr_1x8", "--checkpoint", "none", "--data", "{data}"], "none"),
        (
            finetune,
            ["edsr_1x8", "--checkpoint", "{base}", "--adversarial", "-1"],
            "expected a number above 0",
        ),
        (naturalness, [".", "--data", "{data}", "--threads", "0"], "expected a number above 0, got 0"),
        (naturalness, ["."], "say where the data folder is"),
        (
            naturalness,
            [".", "--data", "{data}"],
            "no candidates in .: it must be the output of training.fine",
        ),
        (export, ["edsr_1x8", "--checkpoint", "{base}", "--as", "edsr_4x32"], "edsr_1x8_..., not edsr_4x32"),
    ],
)
def test_mistakes_get_one_line(module, arguments, message, data, base, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("SUPERRES_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, module.main, *(argument.format(data=data, base=base) for argument in arguments))
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_missing_environment_gets_one_line(data, base, tmp_path, monkeypatch, capsys):
    (tmp_path / "candidates").mkdir()
    (tmp_path / "candidates/step_000001.safetensors").write_bytes(base.read_bytes())
    monkeypatch.setattr(naturalness, "DEVELOPMENT", ("T33UUB",))
    monkeypatch.setenv("SUPERRES_BRISQUE", str(tmp_path / "none"))
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, naturalness.main, tmp_path, "--data", data, "--threads", 1)
    assert stopped.value.code == 2
    assert "none is not there: run make brisque-setup" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "chosen.safetensors").exists()


def test_weights_that_say_nothing_of_their_making(base, tmp_path, monkeypatch, capsys):
    save_file(load_file(base), tmp_path / "bare.safetensors")
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, export.main, "edsr_1x8", "--checkpoint", tmp_path / "bare.safetensors")
    assert stopped.value.code == 2
    assert "bare.safetensors is no checkpoint of a training" in capsys.readouterr().err.splitlines()[-1]
