# ruff: noqa: E402
"""SEN2VENµS: both versions read, split by sites, simulated from and trained on."""

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the train extra is not installed: make train-setup")

from sen2venus_files import WRITERS, as_fine, write_index, write_version_1, write_version_2

from openeo_superres.sensor import BANDS_10M, BANDS_20M, degrade
from training import degradation, export, sen2venus, train
from training.datasets import FineCrops, stacked
from training.losses import loss_of, pretraining_loss
from training.networks import build
from training.progress import validation_pair
from training.recipe import Recipe
from training.sen2venus import SITES, SPLITS, TEST_SITES, VALIDATION_SITES, load_dataset, split_of
from training.train import Training

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("one_torch_thread")]

TINY = Recipe("edsr_1x8", steps=6, batch=2, crop=32, warmup=2, sen2venus=0.5)


@pytest.fixture(scope="module")
def images(sample):
    """Patches of 128 x 128 "5 m" pixels with their 10 m and 20 m."""
    return as_fine(*sample, edge=128, step=32)


@pytest.fixture(scope="module")
def sites(images):
    """Two sites to train on, one for validation, one for the test."""
    return {"ARM": images[:6], "SO1": images[6:8], "ALSACE": images[8:11], "FR-LQ1": images[11:14]}


@pytest.fixture(scope="module", params=list(WRITERS))
def root(request, sites, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sen2venus")
    WRITERS[request.param](folder, sites)
    return folder


@pytest.fixture
def own(sites, tmp_path):
    """Makes a dataset that a test may damage."""

    def write(version):
        WRITERS[version](tmp_path / "own", sites)
        return tmp_path / "own"

    return write


def call(monkeypatch, main, *arguments):
    monkeypatch.setattr(sys, "argv", [main.__module__, *map(str, arguments)])
    main()


# ---- reading


def test_patches_are_what_was_written(root, sites):
    dataset = load_dataset(root)
    bands = 6 if dataset.version == "2.0.0" else 4
    assert sorted(dataset.sites) == sorted(sites)
    for site, expected in sites.items():
        assert len(dataset.sites[site]) == len(expected)
        for patch, (x05, x10, x20) in zip(dataset.sites[site], expected, strict=True):
            for ours, theirs in zip(patch.read(), (x05, x10, x20[:bands]), strict=True):
                assert ours.dtype == np.int16
                np.testing.assert_array_equal(ours, theirs)


def test_every_site_is_in_one_split():
    assert len(set(SITES)) == len(SITES) == 29
    assert not set(TEST_SITES) & set(VALIDATION_SITES)
    counts = [sum(split_of(site) == split for site in SITES) for split in SPLITS]
    assert counts == [19, 3, 7]


def test_splits_hold_whole_sites(root):
    dataset = load_dataset(root)
    folders = [{patch.folder.name for patch in dataset.split(split)} for split in SPLITS]
    assert folders == [{"ARM", "SO1"}, {"ALSACE"}, {"FR-LQ1"}]
    assert [len(dataset.split(split)) for split in SPLITS] == [8, 3, 3]


def test_archives_that_unpack_one_folder_deeper(root, tmp_path):
    (tmp_path / "ARM").mkdir()
    (tmp_path / "ARM/ARM").symlink_to(root / "ARM")
    assert {site: len(found) for site, found in load_dataset(tmp_path).sites.items()} == {"ARM": 6}


def test_tensors_stay_on_disk(own):
    """A file of them may be as large as the memory: it is mapped, and only a patch that is used is read."""
    path = next((own("1") / "ARM").glob("*_10m_*.pt"))
    value = sen2venus.tensor(path)
    assert str(path) in Path("/proc/self/maps").read_text()
    assert value.shape == (6, 4, 64, 64)


# ---- what can be wrong with it


def spoil(path, how):
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.write_bytes(b"something else")


@pytest.mark.parametrize("how", ["missing", "cut", "other"])
@pytest.mark.parametrize("version", list(WRITERS))
def test_damaged_files_are_named(own, version, how):
    folder = own(version)
    path = next((folder / "SO1").glob("*20m_b*.pt" if version == "1" else "*b5b6b7b8a_20m.zip"))
    spoil(path, how)
    dataset = load_dataset(folder)
    with pytest.raises(ValueError, match=f"Patch .* of {path} cannot be read: "):
        dataset.sites["SO1"][0].read()
    for read, count in ((False, 1), (True, 2)):
        problems = sen2venus.survey(dataset, read=read)["problems"]
        assert len(problems) == count
        assert all(str(path) in problem for problem in problems)


def test_a_single_damaged_patch_is_found_by_reading(own):
    """The list of the zip file is whole, but the pixels are not."""
    folder = own("2.0.0")
    path = next((folder / "ARM").glob("*b2b3b4b8_05m.zip"))
    with zipfile.ZipFile(path) as archive:
        middle = archive.infolist()[2]
    content = bytearray(path.read_bytes())
    begin = middle.header_offset + 200
    content[begin : begin + 4000] = bytes(4000)
    path.write_bytes(content)
    dataset = load_dataset(folder)
    assert sen2venus.survey(dataset)["problems"] == []
    problems = sen2venus.survey(dataset, read=True)["problems"]
    assert len(problems) == 1
    assert middle.filename in problems[0]


@pytest.mark.parametrize("version", list(WRITERS))
def test_patches_that_the_index_names_and_the_files_lack(own, version):
    folder = own(version)
    index = folder / "ARM/index.csv"
    text = index.read_text()
    last = text.splitlines()[-1]
    index.write_text(text.replace("\t6\n", "\t9\n") if version == "1" else text + last.replace("_5_", "_9_"))
    dataset = load_dataset(folder)
    assert len(dataset.sites["ARM"]) == (9 if version == "1" else 7)
    problems = sen2venus.survey(dataset)["problems"]
    assert len(problems) == (4 if version == "1" else 5)
    assert "3 of 9 patches are not in it: 6" in problems[0] or "1 of 7 patches" in problems[0]
    with pytest.raises(ValueError, match="cannot be read"):
        dataset.sites["ARM"][-1].read()


def test_files_of_another_size_are_refused(own):
    folder = own("1")
    path = next((folder / "ARM").glob("*_10m_*.pt"))
    torch.save(torch.zeros(6, 4, 32, 64, dtype=torch.int16), path)
    with pytest.raises(
        ValueError, match=r"_10m_.*expected a patch of int16 \(4, 64, 64\), found int16 \(4, 32, 64\)"
    ):
        load_dataset(folder).sites["ARM"][0].read()
    torch.save(torch.zeros(6, 4, 64, 64), path)
    with pytest.raises(ValueError, match="found float32"):
        load_dataset(folder).sites["ARM"][0].read()


class Pickled:
    """What a file of tensors must not bring along: code to run."""

    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize("content", [Pickled(), {"a": torch.zeros(1)}, torch.zeros(3)])
def test_files_of_anything_else_are_refused(own, content, capsys):
    folder = own("1")
    path = next((folder / "ARM").glob("*_10m_*.pt"))
    torch.save(content, path)
    with pytest.raises(ValueError, match=f"{path} cannot be read"):
        load_dataset(folder).sites["ARM"][0].read()
    assert capsys.readouterr().out == ""


# ---- the command


def test_command_says_what_is_there(root, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, sen2venus.main, root)
    assert not stopped.value.code
    lines = capsys.readouterr().out.splitlines()
    assert "patches: 8 training, 3 validation, 3 test" in lines
    assert lines[3].split() == ["ALSACE", "validation", "3"]
    assert lines[-1].endswith("0 problems")
    with pytest.raises(SystemExit):
        call(monkeypatch, sen2venus.main, root, "--json", "--read")
    facts = json.loads(capsys.readouterr().out)
    assert facts["version"] in WRITERS
    assert facts["bands"][8:] == (["B11", "B12"] if facts["version"] == "2.0.0" else [])
    assert len(facts["absent"]) == 25
    files = [path for path in root.glob("*/*") if path.suffix in {".pt", ".zip"}]
    assert facts["bytes"] == sum(path.stat().st_size for path in files)
    assert facts["problems"] == []


def test_command_fails_where_something_is_missing(own, monkeypatch, capsys):
    folder = own("1")
    next((folder / "ARM").glob("*_10m_*.pt")).unlink()
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, sen2venus.main, folder)
    assert stopped.value.code == 1
    assert "No such file" in capsys.readouterr().out.splitlines()[-1]


def nothing(folder):
    folder.mkdir()
    return "No SEN2VENµS under .*: expected SITE/index.csv for each site; is it there?"


def packed(folder):
    folder.mkdir()
    (folder / "ARM.zip").touch()
    return r"unpack the sites' archives there \(ARM.zip"


def other_columns(folder):
    (folder / "ARM").mkdir(parents=True)
    write_index(folder / "ARM/index.csv", [{"a": 1, "b": 2}])
    return "ARM/index.csv is no index of SEN2VENµS: expected, separated by tabs, columns b2b3b4b8_05m"


def no_count(folder):
    (folder / "ARM").mkdir(parents=True)
    write_index(folder / "ARM/index.csv", [dict.fromkeys((*sen2venus.COLUMNS["1"], "nb_patches"), "some")])
    return "column nb_patches should hold whole numbers"


def cut_row(folder):
    (folder / "ARM").mkdir(parents=True)
    (folder / "ARM/index.csv").write_text("\t".join(sen2venus.COLUMNS["2.0.0"]) + "\na.zip/a.tif\tb.zip/b")
    return "ARM/index.csv: a row names no file in some column"


@pytest.mark.parametrize("mistake", [nothing, packed, other_columns, no_count, cut_row])
def test_mistakes_get_one_line(mistake, tmp_path, monkeypatch, capsys):
    message = mistake(tmp_path / "root")
    with pytest.raises(ValueError, match=message):
        load_dataset(tmp_path / "root")
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, sen2venus.main, tmp_path / "root")
    assert stopped.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("python -m training.sen2venus: error: ")


def test_versions_are_not_mixed(images, tmp_path):
    write_version_1(tmp_path, {"ARM": images[:1]})
    write_version_2(tmp_path, {"SO1": images[:1]})
    with pytest.raises(ValueError, match="both versions of SEN2VENµS"):
        load_dataset(tmp_path)


# ---- crops


class InMemory:
    """A patch that need not be read."""

    def __init__(self, *images):
        self.images = images

    def read(self):
        return self.images


@pytest.mark.parametrize("size", [8, 16, 64])
def test_crops_keep_the_three_resolutions_together(size):
    """Wherever a crop is cut or turned, a 20 m pixel lies on its 10 m and 5 m pixels."""
    x20 = np.random.default_rng(0).integers(0, 3000, (3, 6, 16, 16), dtype=np.int16)
    patches = [
        InMemory(
            np.kron(np.tile(image, (2, 1, 1))[:8], np.ones((4, 4), np.int16)),
            np.kron(image[:4], np.ones((2, 2), np.int16)),
            image,
        )
        for image in x20
    ]
    x05, x10, coarse = FineCrops(patches).draw(20, size, np.random.default_rng(1))
    size = min(size, 32)
    assert [part.shape for part in (x05, x10, coarse)] == [
        (20, 8, 2 * size, 2 * size),
        (20, 4, size, size),
        (20, 6, size // 2, size // 2),
    ]
    assert torch.equal(x10, coarse[:, :4].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
    assert torch.equal(x05[:, :4], x10.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
    assert len({part.numpy().tobytes() for part in x10}) > 8


def test_nodata_and_flat_patches_are_not_learnt_from(images):
    good = InMemory(*images[0])
    flat = InMemory(*(np.full_like(image, 300) for image in images[0]))
    holes = [InMemory(*(image.copy() for image in images[0])) for _ in range(3)]
    for patch, image in zip(holes, range(3), strict=True):
        patch.images[image][0, 3, 3] = -10_000
    rng = np.random.default_rng(0)
    for crops in FineCrops([good, flat, *holes]).draw(20, 64, rng):
        assert crops.min() > -10_000
        assert (crops.flatten(1).std(dim=1) > 1).all()
    with pytest.raises(ValueError, match="0 patches found to learn from in 100 rounds"):
        FineCrops([flat, *holes]).draw(1, 64, rng)


def test_crops_do_not_depend_on_the_threads(root):
    crops = FineCrops(load_dataset(root).split("training"))
    one = crops.draw(6, 32, np.random.default_rng(0))
    torch.set_num_threads(2)
    two = crops.draw(6, 32, np.random.default_rng(0))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(one, two, strict=True))


# ---- the simulation


@pytest.fixture
def exact(monkeypatch):
    monkeypatch.setattr(degradation, "MTF_EXPONENT", (1.0, 1.0))
    monkeypatch.setattr(degradation, "MAX_NOISE", 0.0)


@pytest.fixture
def batch(images):
    return stacked(images[:3])


@pytest.mark.usefixtures("exact")
def test_full_resolution_pair_is_what_the_sensor_sees(images, batch):
    """Each band by its own PSF and its own decimation, B11 and B12 as they are."""
    x05, _, x20 = batch
    pair = degradation.full_resolution_pair(x05, x20, np.random.default_rng(0))
    for index, (fine, _, coarse) in enumerate(images[:3]):
        fine = fine.astype(np.float32)  # noqa: PLW2901
        seen10 = degrade(fine[:4], BANDS_10M, 2)
        seen20 = degrade(fine[4:], BANDS_20M[:4], 4)
        expected = np.concatenate([seen10, np.concatenate([seen20, coarse[4:]]).repeat(2, 1).repeat(2, 2)])
        np.testing.assert_allclose(pair.input[index], expected, rtol=2e-6, atol=0.01)
    assert torch.equal(torch.cat([pair.target10, pair.target20], dim=1), x05)
    assert pair.coarse_factor == 1


@pytest.mark.usefixtures("exact")
def test_target_is_consistent_with_the_input(batch):
    """The layer's D sees the simulated input in the target, so that nothing pulls the output off it."""
    x05, _, x20 = batch
    pair = degradation.full_resolution_pair(x05, x20, np.random.default_rng(0))
    target = torch.cat([pair.target10, pair.target20, pair.target20[:, :2]], dim=1)
    seen10, seen20 = build("cubic_mtf").consistency.seen(target)
    inner = (..., slice(4, -4), slice(4, -4))
    torch.testing.assert_close(seen10[inner], pair.input[:, :4][inner], rtol=1e-5, atol=0.01)
    torch.testing.assert_close(
        seen20[:, :4][inner], pair.input[:, 4:8, ::2, ::2][inner], rtol=1e-5, atol=0.01
    )


def test_every_band_has_its_own_noise():
    """Of flat images only the noise is left: of another level in each image and band, and independent."""
    flat = torch.full((4, 8, 128, 128), 1000.0), torch.full((4, 6, 32, 32), 1000.0)
    pair = degradation.full_resolution_pair(*flat, np.random.default_rng(0))
    noise = pair.input - 1000
    cells = noise[:, :, ::2, ::2].flatten(2)
    levels = cells.std(dim=2)
    assert (levels[:, 8:] == 0).all()
    levels = levels[:, :8]
    assert levels.max() < 1.2 * degradation.MAX_NOISE
    assert levels.std(dim=0).min() > 1
    assert min(group.std(dim=1).min() for group in levels.split(4, dim=1)) > 0.3
    first = cells[0, :8] / levels[0, :, None]
    correlation = first @ first.T / first.shape[1]
    assert (correlation - torch.eye(8)).abs().max() < 0.15


def test_same_seed_same_pair(batch):
    x05, _, x20 = batch
    one, again, other = (
        degradation.full_resolution_pair(x05, x20, np.random.default_rng(seed)).input for seed in (0, 0, 1)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.usefixtures("exact")
def test_bands_that_are_missing_are_their_mean(batch):
    x05, x10, x20 = batch
    means = torch.tensor([2472.0, 1665.0])
    fine = degradation.full_resolution_pair(x05, x20[:, :4], np.random.default_rng(0))
    wald = degradation.wald_pair(x10, x20[:, :4], 4, np.random.default_rng(0))
    whole = degradation.wald_pair(x10, x20, 4, np.random.default_rng(0))
    for pair in (fine, wald):
        assert torch.allclose(pair.input[:, 8:], means[:, None, None])
    assert torch.equal(wald.input[:, :8], whole.input[:, :8])
    assert wald.target20.shape[1] == 4


# ---- the losses


def gradient_by_band(pairs):
    """How strongly the loss pulls at each band of a network's detail."""
    model = build("edsr_1x8")
    model.network.exit.reset_parameters()
    detail = None

    def keep(_module, _input, output):
        nonlocal detail
        detail = output
        detail.retain_grad()

    with_hook = model.network.register_forward_hook(keep)
    loss = pretraining_loss(model, *pairs) if len(pairs) == 2 else loss_of(model, *pairs)
    loss.backward()
    with_hook.remove()
    return detail.grad.abs().sum(dim=(0, 2, 3))


def test_venus_says_nothing_of_b11_and_b12(batch):
    """L_FR leaves them alone; L_Wald, and so their sum, doesn't, unless they are missing there, too."""
    x05, x10, x20 = batch
    rng = np.random.default_rng(0)
    fine = degradation.full_resolution_pair(x05, x20, rng)
    pull = gradient_by_band((fine,))
    assert (pull[:8] > 0).all()
    assert (pull[8:] == 0).all()
    assert (gradient_by_band((fine, degradation.wald_pair(x10, x20, 4, rng))) > 0).all()
    assert (gradient_by_band((degradation.wald_pair(x10, x20[:, :4], 4, rng),))[8:] == 0).all()


def test_loss_counts_standard_deviations_of_the_bands_that_have_a_truth():
    class Shifted:
        std = build("cubic_mtf").std

        def __call__(self, x):
            return torch.full((len(x), 10, 64, 64), 1000.0) + torch.arange(10).reshape(1, -1, 1, 1) * self.std

    flat = torch.full((2, 8, 64, 64), 1000.0), torch.full((2, 6, 16, 16), 1000.0)
    pair = degradation.full_resolution_pair(*flat, np.random.default_rng(0))
    assert loss_of(Shifted(), pair).item() == pytest.approx(sum(range(8)) / 8, rel=1e-4)


def test_edge_of_a_crop_is_left_out_of_the_loss():
    class Framed:
        std = build("cubic_mtf").std

        def __call__(self, x):
            output = torch.full((len(x), 10, 64, 64), 9999.0)
            output[..., 6:-6, 6:-6] = 1000
            return output

    flat = torch.full((2, 8, 64, 64), 1000.0), torch.full((2, 6, 16, 16), 1000.0)
    pair = degradation.full_resolution_pair(*flat, np.random.default_rng(0))
    assert loss_of(Framed(), pair).item() == pytest.approx(0, abs=1e-6)


# ---- training


def test_simulated_parts_have_the_b11_and_b12_of_their_place(tmp_path):
    """Of a patch whose bands are all the same, B11 and B12 of the input are the target seen coarsely."""
    x20 = np.tile(np.random.default_rng(0).integers(0, 3000, (1, 32, 32), dtype=np.int16), (6, 1, 1))
    x10, x05 = x20[:4].repeat(2, 1).repeat(2, 2), np.tile(x20[:4], (2, 1, 1)).repeat(4, 1).repeat(4, 2)
    dataset = sen2venus.Dataset(tmp_path, "2.0.0", {"ARM": [InMemory(x05, x10, x20)]})
    fine, _ = Training(TINY, [], dataset)._fine_pairs(np.random.default_rng(1))
    assert fine.input.shape == (2, 10, 32, 32)
    swir = fine.input[:, 8:].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert torch.equal(swir, fine.target10[:, :2])


def test_training_learns_all_ten_bands(images, sample, tmp_path):
    """Also B11 and B12, by Wald alone: what plays 5 m here is real 20 m, so even their truth is known."""
    write_version_2(tmp_path, {"ARM": images[:20], "ALSACE": images[20:]})
    dataset = load_dataset(tmp_path)
    recipe = Recipe("edsr_1x8", steps=30, batch=2, crop=32, rate=2e-2, warmup=5, average=0.8, sen2venus=1.0)
    training = Training(recipe, [], dataset)
    pair = validation_pair(dataset, recipe.crop)
    swir = np.stack([sample[1][4:, 128:192, column : column + 64] for column in range(0, 160, 32)])

    def errors():
        with torch.no_grad():
            output = training.average(pair.input)[:, 8:].numpy()
            return loss_of(training.average, pair).item(), np.abs(output - swir)[..., 6:-6, 6:-6].mean()

    before = errors()
    for _ in range(recipe.steps):
        training.advance()
    after = errors()
    assert after[0] < 0.93 * before[0]
    assert after[1] < 0.95 * before[1]


def test_only_training_sites_are_drawn_from(root):
    dataset = load_dataset(root)
    training = Training(TINY, [], dataset)
    assert {patch.folder.name for patch in training.fine_crops.patches} == {"ARM", "SO1"}
    with pytest.raises(ValueError, match="No training site of SEN2VENµS: only FR-LQ1"):
        Training(TINY, [], sen2venus.Dataset(root, "1", {"FR-LQ1": dataset.sites["FR-LQ1"]}))
    with pytest.raises(ValueError, match="No training site of SEN2VENµS: it was not given"):
        Training(TINY, [])


def test_command_trains_resumes_and_exports(root, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("SUPERRES_DATA", raising=False)
    options = (
        "edsr_1x8",
        "--sen2venus",
        root,
        "--batch",
        1,
        "--every",
        1,
        "--threads",
        1,
        "--output",
        tmp_path,
    )
    call(monkeypatch, train.main, *options, "--steps", 1)
    assert "training on 8 patches of SEN2VENµS" in capsys.readouterr().out
    call(monkeypatch, train.main, *options, "--steps", 3)
    assert "resumed from" in capsys.readouterr().out
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [1, 2, 3]
    assert all(0 < line["validation"] < 1 for line in log)
    call(
        monkeypatch,
        export.main,
        "edsr_1x8",
        "--checkpoint",
        tmp_path / "checkpoint.safetensors",
        "--output",
        tmp_path,
    )
    facts = json.loads((tmp_path / "edsr_1x8.json").read_text())["properties"]["superres:training"]
    assert "SEN2VENµS" in facts["method"]
    assert facts["recipe"]["sen2venus"] == 1.0
    assert facts["sen2venus"] == {"version": load_dataset(root).version, "training": 8, "validation": 3}


def test_damaged_patch_ends_the_training_in_one_line(own, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("SUPERRES_DATA", raising=False)
    folder = own("2.0.0")
    for path in folder.glob("[AS][RO]*/*b11b12_20m.zip"):
        spoil(path, "cut")
    options = ("--steps", 1, "--batch", 1, "--threads", 1, "--output", tmp_path / "run")
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, train.main, "edsr_1x8", "--sen2venus", folder, *options)
    assert stopped.value.code == 2
    assert "b11b12_20m.zip cannot be read" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("version", list(WRITERS))
def test_resumed_training_is_the_same_training(sites, sample, tmp_path, version):
    """Bit for bit, with both kinds of steps."""
    WRITERS[version](tmp_path / "root", sites)
    dataset = load_dataset(tmp_path / "root")
    x10, x20 = (part[None, :, :128, :128].astype(np.int16) for part in sample)
    source = train.Source("a", x10, x20[..., :64, :64], 1)
    straight, first, resumed = (Training(TINY, [source], dataset) for _ in range(3))
    losses = [straight.advance() for _ in range(6)]
    assert [first.advance() for _ in range(3)] == losses[:3]
    first.save(tmp_path / "checkpoint.safetensors")
    resumed.load(tmp_path / "checkpoint.safetensors")
    assert [resumed.advance() for _ in range(3)] == losses[3:]
    for ours, theirs in zip(resumed.average.parameters(), straight.average.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_log_of_a_dataset_without_validation_sites(sites, tmp_path):
    write_version_1(tmp_path, {"ARM": sites["ARM"]})
    assert validation_pair(load_dataset(tmp_path), 32) is None


def test_validation_is_the_same_every_time(root):
    dataset = load_dataset(root)
    assert torch.equal(validation_pair(dataset, 16).input, validation_pair(dataset, 16).input)


def test_validation_leaves_out_nodata(images, root):
    """Else the 10 000 DN below the ground rule the loss."""
    hole = tuple(image.copy() for image in images[0])
    hole[0][2, 5, 5] = -10_000
    patches = [InMemory(*hole), InMemory(*images[1])]
    dataset = sen2venus.Dataset(root, "2.0.0", {"ALSACE": patches})
    pair = validation_pair(dataset, 16)
    assert len(pair.input) == 1
    assert torch.equal(pair.target10[0], torch.from_numpy(images[1][0][:4, :32, :32].astype(np.float32)))
    assert validation_pair(sen2venus.Dataset(root, "2.0.0", {"ALSACE": patches[:1]}), 16) is None
