import io

import numpy as np
import pytest
from PIL import Image

from blurgate.making.blurs import to_linear
from blurgate.making.camera import Camera, draw_camera
from blurgate.measuring.features import FEATURE_SETS, extract_features
from blurgate.photos.images import read_gray, read_rgb

PLAIN = {
    "highlights": 0.0,
    "softness_px": 0.0,
    "exposure_stops": 0.0,
    "fog": 0.0,
    "full_well": 1e9,
    "read_noise": 0.0,
    "grain_px": 0.0,
    "contrast": 1.0,
    "denoising": 0.0,
    "sharpening": 0.0,
    "sharpening_px": 1.0,
    "first_quality": 0,
    "scale": 1.0,
    "last_sharpening": 0.0,
    "stamp": "",
    "quality": 95,
}


def take(rgb, **settings):
    return Camera(**PLAIN | settings).fit_to(rgb).take_picture(to_linear(rgb), np.random.default_rng(0))


def high_energy(jpeg):
    return extract_features(read_gray(jpeg), "dct18")[FEATURE_SETS["dct18"].columns.index("1__high__energy__mean")]


def test_a_perfect_camera_changes_almost_nothing(astronaut):
    assert np.abs(read_gray(take(astronaut)).astype(int) - read_gray(astronaut)).mean() < 1


def test_one_stop_is_twice_the_light(astronaut):
    dark = astronaut // 3
    brighter = to_linear(read_rgb(take(dark, exposure_stops=1.0))).mean()
    assert brighter == pytest.approx(2 * to_linear(dark).mean(), rel=0.05)


def test_shot_noise_is_the_square_root_of_the_electrons():
    gray = np.full((256, 256, 3), 188, np.uint8)  # half the light
    camera = Camera(**PLAIN | {"full_well": 1000.0})
    noisy = camera._add_noise(to_linear(gray), np.random.default_rng(0))
    assert noisy.std() * 1000 == pytest.approx(np.sqrt(500), rel=0.03)


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        ({"full_well": 300.0}, True),
        ({"sharpening": 1.0}, True),
        ({"denoising": 3.0, "full_well": 300.0}, False),
        ({"softness_px": 0.9}, False),
        ({"fog": 0.5}, False),
        ({"last_sharpening": 0.6}, True),
        ({"stamp": "2024-05-16 22:20"}, True),
    ],
)
def test_each_step_adds_or_removes_high_frequencies(astronaut, settings, more):
    assert (high_energy(take(astronaut, **settings)) > high_energy(take(astronaut))) == more


def test_denoising_removes_noise_and_keeps_edges():
    edge = np.full((128, 128, 3), 60, np.uint8)
    edge[:, 64:] = 190
    noisy = take(edge, full_well=300.0)
    cleaned = read_gray(take(edge, full_well=300.0, denoising=9.0)).astype(float)
    assert cleaned[:, 8:56].std() < 0.6 * read_gray(noisy)[:, 8:56].std()
    profile = cleaned.mean(axis=0)
    assert profile[66] - profile[61] > 110


def test_pictures_stay_large_enough_to_judge(astronaut):
    assert Image.open(io.BytesIO(take(astronaut[:80, :160], scale=0.5))).size == (128, 64)
    assert Image.open(io.BytesIO(take(astronaut[:200, :300], scale=0.5))).size == (150, 100)


def test_the_same_seed_takes_the_same_picture(astronaut):
    camera = draw_camera(np.random.default_rng(5))
    assert camera == draw_camera(np.random.default_rng(5))
    light = to_linear(astronaut)
    pictures = [camera.take_picture(light, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert pictures[0] == pictures[1] != pictures[2]


def test_drawn_cameras_stay_in_their_ranges():
    cameras = [draw_camera(np.random.default_rng(seed)) for seed in range(300)]
    assert all(40 <= camera.quality <= 96 and (camera.first_quality or 40) >= 40 for camera in cameras)
    assert all(camera.softness_px <= 0.45 and 0.35 <= camera.scale <= 1.6 for camera in cameras)
    for name, low, high in (("sharpening", 0.4, 0.6), ("fog", 0.08, 0.22), ("stamp", 0.17, 0.33)):
        assert low < np.mean([bool(getattr(camera, name)) for camera in cameras]) < high


def test_lights_stay_bright_when_they_are_blurred():
    lamp = np.full((64, 64, 3), 20, np.uint8)
    lamp[30:34, 30:34] = 255
    camera = Camera(**PLAIN | {"highlights": 6.0})
    light = camera.recover_light(lamp)
    assert light.max() == pytest.approx(7, rel=0.01)
    assert np.median(light) == pytest.approx(np.median(to_linear(lamp)))


def test_fog_lifts_the_shadows_and_lowers_the_contrast(astronaut):
    foggy, plain = (read_gray(take(astronaut, fog=fog)).astype(float) for fog in (0.6, 0.0))
    assert np.percentile(foggy, 2) > np.percentile(plain, 2) + 30
    assert foggy.std() < 0.7 * plain.std()


def test_grain_correlates_neighbours_and_keeps_the_noise_level():
    light = np.full((128, 128, 3), 0.5, np.float32)
    fine, coarse = (
        Camera(**PLAIN | {"full_well": 500.0, "grain_px": grain})._add_noise(light, np.random.default_rng(0))[..., 0]
        for grain in (0.0, 1.0)
    )
    assert coarse.std() == pytest.approx(fine.std(), rel=0.05)
    assert np.corrcoef(coarse[:, 1:].ravel(), coarse[:, :-1].ravel())[0, 1] > 0.6


def test_a_picture_can_be_enlarged(astronaut):
    assert Image.open(io.BytesIO(take(astronaut[:100, :200], scale=1.5))).size == (300, 150)
