import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blurgate.errors import MissingExtraError
from blurgate.making.blurs import (
    BLURS,
    KernelBlur,
    LibraryBlur,
    convolve,
    defocus_kernel,
    find_blur,
    gaussian_kernel,
    kernel_strength,
    motion_kernel,
    to_linear,
    to_rgb,
)

OWN = [kind for kind, blur in BLURS.items() if isinstance(blur, KernelBlur)]
LIBRARY = [kind for kind, blur in BLURS.items() if isinstance(blur, LibraryBlur)]


def edge_strength(apply):
    """Measure the strength independently, on a blurred vertical and a blurred horizontal edge."""
    variance = 0.0
    for turned in (False, True):
        edge = np.zeros((160, 160, 3), np.float32)
        edge[:, 80:] = 1
        blurred = apply(edge.transpose(1, 0, 2) if turned else edge)
        line = blurred[:, 80, 0] if turned else blurred[80, :, 0]
        profile = np.diff(line.astype(float))
        index = np.arange(profile.size)
        centre = (profile * index).sum() / profile.sum()
        variance += (profile * (index - centre) ** 2).sum() / profile.sum()
    return math.sqrt(variance)


def needs_library():
    pytest.importorskip("blurgenerator", reason="needs the extra blurgenerator", exc_type=ImportError)


def test_linear_light_and_back_is_exact():
    codes = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    np.testing.assert_array_equal(to_rgb(to_linear(codes)), codes)


@given(radius=st.floats(2, 20))
def test_strength_of_a_disk(radius):
    assert kernel_strength(defocus_kernel(radius_px=radius)) == pytest.approx(radius / math.sqrt(2), abs=0.1)


@given(length=st.floats(3, 40), angle=st.floats(0, 360))
def test_strength_of_a_line(length, angle):
    found = kernel_strength(motion_kernel(length_px=length, angle_deg=angle))
    assert found == pytest.approx(length / math.sqrt(12), abs=0.2)


@given(sigma=st.floats(0.8, 10), aspect=st.floats(0.3, 1), angle=st.floats(0, 180))
def test_strength_of_a_gaussian(sigma, aspect, angle):
    found = kernel_strength(gaussian_kernel(sigma_px=sigma, aspect=aspect, angle_deg=angle))
    assert found == pytest.approx(sigma * math.sqrt(1 + aspect**2), abs=0.1)


@pytest.mark.parametrize("kind", OWN)
@given(strength=st.floats(1.2, 12), seed=st.integers(0, 2**32))
@settings(max_examples=40)
def test_drawn_kernels_are_valid_and_have_the_requested_strength(kind, strength, seed):
    blur = BLURS[kind]
    parameters = blur.draw(np.random.default_rng(seed), strength)
    kernel = blur.kernel(**parameters)
    assert kernel.sum() == pytest.approx(1)
    assert kernel.min() >= 0
    assert all(side % 2 for side in kernel.shape)
    assert -0.01 <= blur.strength_px(parameters) - strength <= 0.2
    centre = [float(kernel.sum(axis=1 - axis) @ np.arange(kernel.shape[axis])) for axis in (0, 1)]
    np.testing.assert_allclose(centre, [(side - 1) / 2 for side in kernel.shape], atol=0.5)


@pytest.mark.parametrize("kind", OWN)
def test_reported_strength_matches_that_of_a_blurred_edge(kind):
    for seed in range(4):
        parameters = BLURS[kind].draw(np.random.default_rng(seed), 4.0)
        kernel = BLURS[kind].kernel(**parameters)
        measured = edge_strength(lambda edge, kernel=kernel: convolve(edge, kernel))
        assert BLURS[kind].strength_px(parameters) == pytest.approx(measured, rel=0.01)


def test_blur_is_in_linear_light():
    checks = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)[:, :, np.newaxis].repeat(3, axis=2)
    blurred = BLURS["gaussian"].apply(checks, {"sigma_px": 4.0})
    assert blurred[32, 32, 0] == 188  # half the light; half the code value would be 128


def test_flat_pictures_do_not_change():
    flat = np.full((64, 80, 3), 77, np.uint8)
    for kind in OWN:
        parameters = BLURS[kind].draw(np.random.default_rng(3), 5.0)
        assert np.abs(BLURS[kind].apply(flat, parameters).astype(int) - 77).max() == 0


def test_shaken_paths_differ_by_seed_and_turn():
    straight, shaken, other = (
        motion_kernel(length_px=30, shake=shake, path_seed=seed) for shake, seed in ((0, 0), (0.8, 1), (0.8, 2))
    )
    assert straight.sum(axis=1).max() == pytest.approx(1)  # all on one row
    assert shaken.shape != other.shape or not np.allclose(shaken, other)
    assert kernel_strength(shaken) < kernel_strength(straight)


def test_aperture_with_four_blades_is_a_square():
    square = defocus_kernel(radius_px=10, n_blades=4, rotation_deg=45)
    inside = square > square.max() / 2
    assert inside.sum() == pytest.approx(2 * 10**2, rel=0.12)  # area of a square with that circumradius


@pytest.mark.parametrize("kind", LIBRARY)
def test_examples_run_from_weak_to_strong(kind):
    needs_library()
    strengths = [BLURS[kind].strength_px(parameters) for parameters in BLURS[kind].examples()]
    assert strengths == sorted(strengths)
    assert len(strengths) == 8


def test_library_strengths_match_those_of_its_kernels():
    needs_library()
    cv2 = pytest.importorskip("cv2")
    for size, sigma in ((3, 1), (5, 3), (5, 7)):
        column = cv2.getGaussianKernel(size, sigma)
        found = BLURS["bg-gaussian"].strength_px({"kernel": size, "sigma": sigma})
        assert found == pytest.approx(kernel_strength(column @ column.T), abs=0.03)
    assert BLURS["bg-motion"].strength_px({"size": 5, "angle": 90}) == pytest.approx(math.sqrt(2), abs=0.03)


def test_library_is_called_unchanged(astronaut):
    needs_library()
    import blurgenerator

    np.testing.assert_array_equal(
        BLURS["bg-motion"].apply(astronaut, {"size": 5, "angle": 40}),
        blurgenerator.motion_blur(astronaut, size=5, angle=40),
    )


def test_lens_keeps_the_brightness(astronaut):
    needs_library()
    for gamma in (2, 6):
        parameters = {"radius": 5, "components": 5, "exposure_gamma": gamma}
        blurred = BLURS["bg-lens"].apply(astronaut, parameters)
        np.testing.assert_allclose(blurred.mean(axis=(0, 1)), astronaut.mean(axis=(0, 1)), atol=0.5)


def test_missing_library_names_its_extra(astronaut, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "blurgenerator", None)
    with pytest.raises(MissingExtraError, match=r"Blur-Generator's motion_blur needs the extra 'blurgenerator'"):
        BLURS["bg-motion"].apply(astronaut, {"size": 3, "angle": 0})


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (defocus_kernel, {"radius_px": 0}, "radius_px must be above 0, got 0"),
        (defocus_kernel, {"radius_px": 3, "n_blades": 2}, "n_blades must be 0 .* or at least 3, got 2"),
        (gaussian_kernel, {"sigma_px": 2, "aspect": 1.5}, "aspect must be at most 1, got 1.5"),
        (gaussian_kernel, {"sigma_px": float("nan")}, "sigma_px must be above 0, got nan"),
        (motion_kernel, {"length_px": -1}, "length_px must be above 0, got -1"),
        (motion_kernel, {"length_px": 5, "shake": 2}, "shake must be between 0 and 1, got 2"),
    ],
)
def test_parameters_out_of_range(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_unknown_kind_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"blur kind must be one of defocus, .*bg-gaussian, got 'zoom'"):
        find_blur("zoom")
