"""Damaged files are refused, never read silently wrong."""

from collections import Counter

import numpy as np
import pytest
from damage import FLIPPED, SHARES, VICTIMS, flips, truncations

from openeo_superres.scene import open_scene


@pytest.mark.parametrize("kind", VICTIMS)
def test_a_file_that_is_cut_short_is_refused(tmp_path, kind):
    assert Counter(truncations(kind, tmp_path)) == {"refused": len(SHARES)}


@pytest.mark.parametrize("kind", FLIPPED)
def test_a_flipped_byte_is_found_where_there_is_a_checksum(tmp_path, kind):
    found = Counter(flips(kind, tmp_path, 12))
    assert found.keys() <= {"refused", "same"}
    # of a zip, the time of a file may change and nothing else
    assert found["refused"] >= (9 if kind == "zipped" else 12)


def test_without_a_checksum_a_flip_of_an_image_is_silent(tmp_path):
    """Which is why there is --verify."""
    victim = VICTIMS["jp2"](tmp_path)
    scene = open_scene(victim.source)
    right, content = scene.read((0, 0, 48, 48)), victim.file.read_bytes()
    changed = bytearray(content)
    changed[-len(content) // 3] ^= 0x55
    victim.file.write_bytes(changed)
    assert not np.array_equal(scene.read((0, 0, 48, 48)), right)
