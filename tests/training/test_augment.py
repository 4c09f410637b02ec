"""Augmentation: seeded, mild, batched."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from agebench.recipes import Augment
from agebench.training.augment import _quantised, augment

PICTURES = torch.randint(0, 256, (16, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
ALL = Augment(flip=True, crop=0.2, rotate=10, colour=0.3)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_same_seed_gives_the_same_pictures_and_another_seed_others():
    assert torch.equal(augment(PICTURES, ALL, generator()), augment(PICTURES, ALL, generator()))
    assert not torch.equal(augment(PICTURES, ALL, generator()), augment(PICTURES, ALL, generator(1)))


def test_without_changes_the_pictures_stay_as_they_are():
    assert torch.equal(augment(PICTURES, Augment(flip=False), generator()), PICTURES.float())


def test_a_flip_mirrors_about_half_of_the_pictures_left_to_right_and_touches_nothing_else():
    changed = augment(PICTURES, Augment(flip=True), generator())
    mirrored = [torch.equal(c, p.flip(1).float()) for c, p in zip(changed, PICTURES, strict=True)]
    same = [torch.equal(c, p.float()) for c, p in zip(changed, PICTURES, strict=True)]
    assert all(m != s for m, s in zip(mirrored, same, strict=True))
    assert 3 <= sum(mirrored) <= 13


@pytest.mark.parametrize("how", [ALL, Augment(colour=1.0), Augment(crop=0.5, rotate=45)])
def test_values_stay_in_range_and_shapes_as_they_were(how):
    changed = augment(PICTURES, how, generator())
    assert changed.shape == PICTURES.shape
    assert changed.dtype == torch.float32
    assert changed.min() >= 0
    assert changed.max() <= 255


def test_a_crop_of_nothing_beside_a_rotation_of_nothing_is_the_picture():
    barely = augment(PICTURES, Augment(flip=False, crop=1e-6), generator())
    assert (barely - PICTURES.float()).abs().max() < 0.1


def test_crops_enlarge_and_reduce_faces_alike_and_show_black_outside():
    white = torch.full((400, 32, 32, 3), 255, dtype=torch.uint8)
    changed = augment(white, Augment(flip=False, crop=0.25), generator())
    shown = (changed[..., 0] > 127).float().mean((1, 2)).sqrt()  # the side of the picture that is seen
    assert shown.min() == pytest.approx(1 / 1.25, abs=0.04)
    assert 0.3 < (shown < 0.99).float().mean() < 0.75
    assert (changed == 0).any()


def test_a_stretch_shows_a_square_wider_or_higher_and_as_large():
    square = torch.zeros(400, 64, 64, 3, dtype=torch.uint8)
    square[:, 16:48, 16:48] = 255
    seen = augment(square, Augment(flip=False, stretch=0.2), generator())[..., 0] / 255
    wide, high = seen[:, 32].sum(1), seen[:, :, 32].sum(1)
    shape = wide / high
    assert shape.min() == pytest.approx(1 / 1.2, abs=0.02)
    assert shape.max() == pytest.approx(1 / 0.8, abs=0.02)
    assert 0.4 < (shape > 1).float().mean() < 0.6
    assert (wide * high).sqrt().sub(32).abs().max() < 0.5


def test_a_perspective_enlarges_one_border_and_reduces_the_opposite_one():
    square = torch.zeros(400, 64, 64, 3, dtype=torch.uint8)
    square[:, 16:48, 16:48] = 255
    seen = augment(square, Augment(flip=False, perspective=0.2), generator())[..., 0] / 255
    top, bottom = seen[:, 20].sum(1), seen[:, 43].sum(1)
    shape = top / bottom  # (1 - 0.36 k) / (1 + 0.36 k): these rows lie 0.36 above and below the middle, and |k| <= 0.2
    assert shape.max() == pytest.approx(1.072 / 0.928, abs=0.03)
    assert shape.min() == pytest.approx(0.928 / 1.072, abs=0.03)
    assert 0.4 < (shape > 1).float().mean() < 0.6
    sides = seen[:, :, 20].sum(1) / seen[:, :, 43].sum(1)
    assert abs(torch.corrcoef(torch.stack([shape, sides]))[0, 1]) < 0.2  # up and down, and sideways, each by its own


def test_crops_are_off_the_middle_as_often_one_way_as_the_other():
    dot = torch.zeros(400, 33, 33, 3, dtype=torch.uint8)
    dot[:, 15:18, 15:18] = 255
    weight = augment(dot, Augment(flip=False, crop=0.25), generator()).mean(3)
    across = (weight.sum(1) * torch.arange(33)).sum(1) / weight.sum((1, 2)) - 16
    assert abs(across.mean()) < 0.3
    assert 1 < across.abs().max() <= 0.25 / 4 * 33 / 0.75 + 0.5


def test_gray_draws_have_one_value_in_all_channels_up_to_the_tint():
    changed = augment(PICTURES, Augment(flip=False, gray=0.5), generator())
    flat = [bool((c.amax(2) - c.amin(2)).max() < 0.01) for c in changed]
    same = [bool((c - p.float()).abs().max() < 0.01) for c, p in zip(changed, PICTURES, strict=True)]
    assert all(f != s for f, s in zip(flat, same, strict=True))
    assert 3 <= sum(flat) <= 13


def test_a_gray_picture_gets_one_tint_everywhere():
    gray = torch.full((16, 8, 8, 3), 100, dtype=torch.uint8)
    changed = augment(gray, Augment(flip=False, colour=0.3), generator())
    assert (changed - changed[:, :1, :1]).abs().max() < 0.01
    assert changed.std() > 5


def test_what_lies_outside_of_a_picture_stays_black():
    framed = PICTURES.clone()
    framed[:, :8] = 0
    changed = augment(framed, Augment(flip=False, colour=0.5), generator())
    assert (changed[:, :8] == 0).all()


def test_half_of_the_draws_are_coarser_and_none_is_another_picture():
    sharp = torch.randint(0, 2, (200, 32, 32, 1), dtype=torch.uint8, generator=generator()).expand(-1, -1, -1, 3) * 255
    changed = augment(sharp, Augment(flip=False, coarsen=0.75), generator())
    detail = (changed - sharp.float()).abs().mean((1, 2, 3))
    assert 0.35 < (detail > 1).float().mean() < 0.65
    assert detail[detail > 1].min() > 10
    means = sharp.float().mean((1, 2, 3)) - changed.mean((1, 2, 3))
    assert means.abs().max() < 3
    least = augment(sharp, Augment(flip=False, coarsen=0.9), generator())
    assert (least - sharp.float()).abs().mean() > (changed - sharp.float()).abs().mean()


def test_grain_is_the_same_in_all_channels_and_up_to_its_deviation():
    gray = torch.full((200, 16, 16, 3), 128, dtype=torch.uint8)
    changed = augment(gray, Augment(flip=False, grain=0.1), generator()) - 128
    assert (changed[..., 0] - changed[..., 2]).abs().max() < 1e-4
    deviations = changed[..., 0].std((1, 2))
    assert deviations.max() < 25.5 * 1.15
    assert deviations.mean() == pytest.approx(25.5 / 2, rel=0.15)


def test_grains_are_wider_than_a_pixel_in_most_batches():
    gray = torch.full((8, 64, 64, 3), 128, dtype=torch.uint8)
    alike = []
    for seed in range(12):
        noise = augment(gray, Augment(flip=False, grain=0.1), generator(seed))[..., 0] - 128
        alike.append((noise[:, :, 1:] * noise[:, :, :-1]).mean() / (noise**2).mean())
    assert min(alike) < 0.35
    assert max(alike) > 0.6
    assert np.mean(alike) > 0.3


def test_a_seventh_of_the_draws_has_the_screen_of_a_print():
    gray = torch.full((350, 32, 32, 3), 128, dtype=torch.uint8)
    changed = augment(gray, Augment(flip=False, screen=0.1), generator()) - 128
    printed = changed.abs().amax((1, 2, 3)) > 0.01
    assert 0.08 < printed.float().mean() < 0.21
    assert changed.abs().max() <= 25.5
    assert changed[..., 0].mean((1, 2)).abs().max() < 5  # as bright as before
    assert (changed[..., 0] - changed[..., 2]).abs().max() < 1e-4


def test_faded_pictures_have_less_contrast_and_some_a_cast():
    changed = augment(PICTURES.repeat(20, 1, 1, 1), Augment(flip=False, fade=0.8), generator())
    before = PICTURES.repeat(20, 1, 1, 1).float()
    contrast = changed.std((1, 2)).mean(1) / before.std((1, 2)).mean(1)
    assert 0.15 < contrast.min() < 0.35
    assert 0.2 < (contrast < 0.6).float().mean() < 0.7
    means, originals = changed.mean((1, 2)), before.mean((1, 2))
    ratio = means / originals
    assert 0.3 < ((ratio.amax(1) - ratio.amin(1)) > 0.05).float().mean() < 0.65


def test_outside_of_a_mirrored_crop_is_its_mirror_image():
    white = torch.full((50, 32, 32, 3), 255, dtype=torch.uint8)
    how = Augment(flip=False, crop=0.25, rotate=20)
    assert augment(white, how, generator()).min() == 0
    assert augment(white, how, generator(), "mirror").min() > 254


@pytest.mark.parametrize("quality", [10, 40, 75, 95])
def test_quantised_pictures_are_those_that_a_jpeg_encoder_writes(quality: int) -> None:
    y, x = np.mgrid[:44, :44]  # not a multiple of 8
    face = np.stack([128 + 90 * np.sin(x / 5), 128 + 90 * np.cos(y / 7), 40 + 4 * x], 2).clip(0, 255).astype(np.uint8)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality,
               cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]  # fmt: skip
    _, stored = cv2.imencode(".jpg", face[:, :, ::-1], options)
    expected = cv2.imdecode(stored, cv2.IMREAD_COLOR)[:, :, ::-1].astype(float)
    ours = _quantised(torch.from_numpy(face).permute(2, 0, 1).unsqueeze(0).float(), torch.tensor([float(quality)]))
    assert np.abs(ours[0].permute(1, 2, 0).numpy() - expected).mean() < 1
    assert np.abs(face - expected).mean() > 2 or quality > 40


def test_half_of_the_draws_are_as_jpeg_stores_them():
    pictures = torch.randint(0, 256, (200, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    changed = (augment(pictures, Augment(flip=False, jpeg=0.9), torch.Generator().manual_seed(0)) != pictures).any(3)
    assert changed.flatten(1).any(1).float().mean() == pytest.approx(0.5, abs=0.12)


def test_a_rectangle_is_erased_in_half_of_the_draws():
    white = torch.full((400, 20, 20, 3), 255, dtype=torch.uint8)
    changed = augment(white, Augment(flip=False, erase=0.5), generator())
    gone = changed == 127.5
    assert ((changed == 255) | gone).all()
    share = gone[..., 0].float().mean((1, 2))
    assert 0.3 < (share > 0).float().mean() < 0.55  # some are too thin to hold a pixel, or lie outside
    assert share.max() <= 0.31
    one = gone[share.argmax(), ..., 0]
    assert torch.equal(one, one.any(1, keepdim=True) & one.any(0, keepdim=True))


def test_degrading_leaves_the_draws_of_the_other_changes_as_they_were():
    """A recipe that adds grain sees the same crops and colours as one without."""
    plain = augment(PICTURES, ALL, generator())
    barely = augment(
        PICTURES, ALL.model_copy(update={"grain": 1e-7, "coarsen": 1e-7, "screen": 1e-7, "fade": 1e-7}), generator()
    )
    assert (plain - barely).abs().max() < 0.01
