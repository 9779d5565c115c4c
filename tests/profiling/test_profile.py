"""A device's habits are found where they are, from latencies alone; what none can be asked is a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import fx

from raysearch import backends
from raysearch.backends import profiles
from raysearch.networks import figures
from raysearch.profiling import networks, profile
from raysearch.profiling.profile import WIDTHS, multiple_of, speed_ups, worthwhile
from raysearch.trainables.quantization.quantizer import Quantizer


def blocks(width: int, of: int) -> float:
    """The time of a kernel that computes whole blocks of channels."""
    return float((-(-width // of) * of) ** 2)


def test_the_widths_that_no_wider_one_beats() -> None:
    assert worthwhile({8: 3.0, 12: 1.0, 16: 2.0, 20: 2.02, 24: 4.0}) == [12, 20, 24]


@pytest.mark.parametrize("of", [1, 2, 4, 8, 16])
def test_the_blocks_of_a_kernel_are_found(of: int) -> None:
    assert multiple_of({width: blocks(width, of) for width in WIDTHS}) == of


def test_kernels_for_multiples_alone_are_found() -> None:
    """Where all but multiples of four fall back to a slow kernel, and below sixteen everything does."""
    times = {w: w * (1.0 if w % 4 == 0 and w >= 16 else 2.0) for w in WIDTHS}
    assert multiple_of(times) == 4


def test_bits_are_compared_with_float() -> None:
    found = speed_ups(backends.get("onnxruntime-cpu"), lambda module: 1.0)
    assert set(found.values()) == {1.0}
    assert "8/8" in found


def test_networks_are_made_for_files_of_every_form(tmp_path: Path) -> None:
    for form in ("uint8", "int8"):
        files = networks.write(networks.even(8, (8, 8), form), form, tmp_path)
        assert files.target.stat().st_size > 0


@pytest.mark.slow
def test_a_profile_is_kept_and_used_by_studies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a device whose time is what its networks compute, so that nothing need be measured."""
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path))
    monkeypatch.setattr(profile, "WIDTHS", (8, 12, 16, 24, 32))
    backend = backends.get("onnxruntime-cpu")
    assert profiles.channel_multiple(backend) == backend.channel_multiple

    def counted(module: fx.GraphModule) -> float:
        return 1e-6 * float(figures.macs(module)) + 0.01

    class Measured:
        def __enter__(self) -> object:
            return counted

        def __exit__(self, *given: object) -> None:
            pass

    monkeypatch.setattr(profile, "_measured", lambda backend: Measured())
    found = profile.profile("onnxruntime-cpu", samples=8)
    assert found.spearman > 0.8
    assert set(found.latency_ms) == {"32/32", "8/8"}
    assert found.speed_ups["8/8"] == pytest.approx(1.0)
    kept = profiles.stored(backend)
    assert kept is not None
    assert kept["channel_multiple"] == found.channel_multiple == profiles.channel_multiple(backend)
    assert profiles.stored(backends.get({"runtime": "onnxruntime-cpu", "threads": 2})) is None
    assert any("rank correlation" in line for line in profile.summary(found))


@pytest.mark.parametrize(
    ("target", "samples", "message"),
    [
        ("onnxruntime-gpu", 20, "is unknown"),
        ("torch-compile-cpu", 20, "measured on finalists alone"),
        ("onnxruntime-cpu", 4, "samples is 4: give 5 or more"),
    ],
)
def test_what_none_can_be_asked(target: str, samples: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        profile.profile(target, samples)


@pytest.mark.slow
@pytest.mark.skipif(backends.get("ethos-u55-256").unavailable() is not None, reason="Vela is not installed")
def test_a_device_that_computes_nothing_in_float_is_known_by_its_integers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(profile, "WIDTHS", (8, 16, 24))
    seen: list[bool] = []

    class Counted:
        def __enter__(self) -> object:
            def latency_of(module: fx.GraphModule) -> float:
                seen.append(any(isinstance(m, Quantizer) for m in module.modules()))
                return 1e-6 * float(figures.macs(module)) + 0.01

            return latency_of

        def __exit__(self, *given: object) -> None:
            pass

    monkeypatch.setattr(profile, "_measured", lambda backend: Counted())
    found = profile.profile("ethos-u55-256", samples=5)
    assert set(found.latency_ms) == {"8/8"}
    assert found.speed_ups == {}
    assert all(seen)
    assert any("nothing in float" in line for line in profile.summary(found))
