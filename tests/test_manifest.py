"""Checksums of SAFE products: one byte that differs is found, in folders and in zips."""

import hashlib
import random
import shutil
import zipfile

import pytest
from products import write_manifest, write_safe, zip_folder

from openeo_superres.errors import SceneError
from openeo_superres.readers.manifest import verify
from openeo_superres.scene import open_scene
from openeo_superres.sensor import BAND_NAMES

FLIPS = 6
"""Per band."""


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    return write_safe(tmp_path_factory.mktemp("manifest"), size=48)


@pytest.fixture
def safe(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / pristine.name)


def image(root, name):
    return next(root.glob(f"GRANULE/*/IMG_DATA/**/*_{name}.jp2"))


def flip(path, position, bit=0):
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def count_files(root):
    return sum(path.is_file() for path in root.rglob("*"))


@pytest.mark.parametrize("checksum", ["MD5", "SHA3-256"])
@pytest.mark.parametrize("level", ["L1C", "L2A"])
@pytest.mark.parametrize("packing", ["folder", zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_whole_product_is_verified(tmp_path, checksum, level, packing):
    root = write_safe(tmp_path, level=level, checksum=checksum, size=48)
    expected = count_files(root) - 1  # the manifest itself is not listed
    path = root if packing == "folder" else zip_folder(root, compression=packing)
    assert verify(path) == verify(str(path)) == expected


def test_a_product_of_old_naming_and_several_tiles_is_verified(tmp_path):
    options = {"old_naming": True, "baseline": "02.01", "offset": None, "size": 48}
    root = write_safe(tmp_path, tiles=("T18SVG", "T18SVH"), **options)
    assert verify(root) == verify(next((root / "GRANULE").iterdir())) == count_files(root) - 1
    flip(sorted(root.glob("GRANULE/*/IMG_DATA/*_B05.jp2"))[1], 700)
    with pytest.raises(SceneError, match=r"T18SVH_B05\.jp2 differs from its SHA3-256 checksum"):
        verify(root)


@pytest.mark.parametrize("name", BAND_NAMES)
def test_a_flipped_byte_is_found(safe, name):
    """60 in all, anywhere in the file: no other check sees most of them."""
    path, rng = image(safe, name), random.Random(name)
    content = path.read_bytes()
    for _ in range(FLIPS):
        flip(path, rng.randrange(len(content)), rng.randrange(8))
        with pytest.raises(SceneError, match=rf"_{name}\.jp2 differs from its SHA3-256 checksum"):
            verify(safe)
        path.write_bytes(content)
    assert verify(safe)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_flipped_byte_is_found_in_a_zip(safe, compression):
    """In what was packed, and in the pack."""
    flip(image(safe, "B07"), 900)
    path = zip_folder(safe, compression=compression)
    with pytest.raises(SceneError, match=r"_B07\.jp2 differs from its SHA3-256 checksum"):
        verify(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_damaged_member_of_a_zip_is_named(safe, compression, share):
    path = zip_folder(safe, compression=compression)
    with zipfile.ZipFile(path) as file:
        (entry,) = (entry for entry in file.infolist() if entry.filename.endswith("_B07.jp2"))
    start = entry.header_offset + 30 + len(entry.filename)
    flip(path, start + int(share * entry.compress_size))
    with pytest.raises(SceneError, match=r"_B07\.jp2"):
        verify(path)


def test_a_flip_reads_without_an_error_otherwise(safe):
    """Why there are checksums: some flips change pixels, and nothing else tells."""
    path, silent = image(safe, "B08"), 0
    expected = open_scene(safe, ["B08"]).read((0, 0, 48, 48))
    content = path.read_bytes()
    for position in range(len(content) // 2, len(content) // 2 + 20):
        flip(path, position)
        silent += bool((open_scene(safe, ["B08"]).read((0, 0, 48, 48)) != expected).any())
        path.write_bytes(content)
    assert silent


@pytest.mark.parametrize("name", ["MTD_MSIL1C.xml", "MTD_TL.xml"])
def test_metadata_are_verified(safe, name):
    path = next(safe.rglob(name))
    path.write_text(path.read_text().replace("024Z", "025Z"))
    with pytest.raises(SceneError, match=rf"{name} differs"):
        verify(safe)


def test_what_is_needed_may_not_be_missing(safe):
    image(safe, "B03").unlink()
    with pytest.raises(SceneError, match=r"_B03\.jp2 is missing"):
        verify(safe)


def test_what_is_not_needed_may_be_missing(safe):
    image(safe, "B10").unlink()
    assert verify(safe) == count_files(safe) - 1


def test_what_is_needed_is_listed(safe):
    kept, path = image(safe, "B04").read_bytes(), image(safe, "B04")
    path.unlink()
    write_manifest(safe)
    path.write_bytes(kept)
    with pytest.raises(SceneError, match=r"_B04\.jp2 is not listed"):
        verify(safe)


def test_some_problems_are_named_and_the_rest_counted(safe):
    for name in BAND_NAMES:
        flip(image(safe, name), 800)
    flip(image(safe, "B01"), 800)
    with pytest.raises(
        SceneError, match=r"is not as it was made: .*; and 8 more\. Download it again"
    ) as caught:
        verify(safe)
    # needed files come first
    assert "B01" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_source_without_a_manifest_can_not_be_verified(safe, tmp_path):
    (safe / "manifest.safe").unlink()
    for path in (safe, zip_folder(safe)):
        if path.exists():
            with pytest.raises(SceneError, match=r"has no manifest\.safe"):
                verify(path)
    (tmp_path / "a.tif").write_bytes(b"II*\0")
    for path in (tmp_path / "a.tif", tmp_path / "none.SAFE"):
        with pytest.raises(SceneError, match=r"has no manifest\.safe|can't be opened"):
            verify(path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("SHA3-256", "CRC32", 'checksum "CRC32" of .*expected MD5'),
        ('href="./', 'href="../', r'lists "\.\./'),
        ('href="./', 'href="/', 'lists "/'),
        ("</xfdu:XFDU>", "", "no complete XML"),
        ("<dataObjectSection>", "<!DOCTYPE x><dataObjectSection>", "no complete XML"),
        ("<xfdu:XFDU", "<!DOCTYPE x><xfdu:XFDU", "document type"),
        ("<checksum", "<unknown", "no complete XML"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused(safe, old, new, said):
    path = safe / "manifest.safe"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(SceneError, match=said):
        verify(safe)


@pytest.mark.parametrize("share", [0.999, 0.99, 0.9, 0.75, 0.5, 0.25, 0.1, 0.01])
def test_a_manifest_that_is_cut_short_is_refused(safe, share):
    path = safe / "manifest.safe"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(SceneError, match=r"manifest\.safe is no complete XML"):
        verify(safe)


def test_checksums_are_those_of_hashlib(safe):
    """The values in the manifest are from another hand than the code that compares."""
    text = (safe / "manifest.safe").read_text()
    assert hashlib.sha3_256(image(safe, "B02").read_bytes()).hexdigest() in text


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "checksum"),
    [
        ("S2A_MSIL1C_20200717T221941_R029_T01LAC_20200717T234135.SAFE", "MD5"),
        ("S2A_MSIL1C_20210908T042701_N0301_R133_T46RER_20210908T070248.SAFE", "SHA3-256"),
        ("S2A_MSIL2A_20230625T234621_N0509_R073_T01WCS_20230626T022157.SAFE", "SHA3-256"),
    ],
)
def test_real_metadata_match_their_checksums_and_images_are_missing(superres_data, name, checksum):
    path = superres_data / "safe-samples" / name
    assert f'checksumName="{checksum}"' in (path / "manifest.safe").read_text()
    with pytest.raises(SceneError, match=r"_B02(_10m)?\.jp2 is missing") as caught:
        verify(path)
    assert "differs" not in str(caught.value)
