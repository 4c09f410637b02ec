"""Augmentation: seeded, mild, batched."""

from __future__ import annotations

import pytest
import torch

from agebench.recipes import Augment
from agebench.train.augment import augment

PICTURES = torch.randint(0, 256, (16, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
ALL = Augment(flip=True, crop=0.2, rotate=10, colour=0.3)


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_same_seed_gives_the_same_pictures_and_another_seed_others():
    assert torch.equal(augment(PICTURES, ALL, dice()), augment(PICTURES, ALL, dice()))
    assert not torch.equal(augment(PICTURES, ALL, dice()), augment(PICTURES, ALL, dice(1)))


def test_without_changes_the_pictures_stay_as_they_are():
    assert torch.equal(augment(PICTURES, Augment(flip=False), dice()), PICTURES.float())


def test_a_flip_mirrors_about_half_of_the_pictures_left_to_right_and_touches_nothing_else():
    changed = augment(PICTURES, Augment(flip=True), dice())
    mirrored = [torch.equal(c, p.flip(1).float()) for c, p in zip(changed, PICTURES, strict=True)]
    same = [torch.equal(c, p.float()) for c, p in zip(changed, PICTURES, strict=True)]
    assert all(m != s for m, s in zip(mirrored, same, strict=True))
    assert 3 <= sum(mirrored) <= 13


@pytest.mark.parametrize("how", [ALL, Augment(colour=1.0), Augment(crop=0.5, rotate=45)])
def test_values_stay_in_range_and_shapes_as_they_were(how):
    changed = augment(PICTURES, how, dice())
    assert changed.shape == PICTURES.shape
    assert changed.dtype == torch.float32
    assert changed.min() >= 0
    assert changed.max() <= 255


def test_a_crop_of_nothing_beside_a_rotation_of_nothing_is_the_picture():
    barely = augment(PICTURES, Augment(flip=False, crop=1e-6), dice())
    assert (barely - PICTURES.float()).abs().max() < 0.1


def test_a_crop_stays_inside_the_picture():
    ramp = torch.arange(32, dtype=torch.uint8).view(1, 1, 32, 1).expand(64, 32, 32, 3)
    changed = augment(ramp, Augment(flip=False, crop=0.25), dice())
    left, right = changed[:, 0, 0, 0], changed[:, 0, -1, 0]
    assert (right - left).min() >= 31 * 0.75 - 1
    assert (right - left).max() <= 31
    assert left.max() > 3  # some windows are at the right


def test_gray_draws_have_one_value_in_all_channels_up_to_the_tint():
    changed = augment(PICTURES, Augment(flip=False, gray=0.5), dice())
    flat = [bool((c.amax(2) - c.amin(2)).max() < 0.01) for c in changed]
    same = [bool((c - p.float()).abs().max() < 0.01) for c, p in zip(changed, PICTURES, strict=True)]
    assert all(f != s for f, s in zip(flat, same, strict=True))
    assert 3 <= sum(flat) <= 13


def test_a_gray_picture_gets_one_tint_everywhere():
    gray = torch.full((16, 8, 8, 3), 100, dtype=torch.uint8)
    changed = augment(gray, Augment(flip=False, colour=0.3), dice())
    assert (changed - changed[:, :1, :1]).abs().max() < 0.01
    assert changed.std() > 5


def test_what_lies_outside_of_a_picture_stays_black():
    framed = PICTURES.clone()
    framed[:, :8] = 0
    changed = augment(framed, Augment(flip=False, colour=0.5), dice())
    assert (changed[:, :8] == 0).all()
