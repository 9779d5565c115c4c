from __future__ import annotations

import pytest

from benchmarks.torchvision_models import Row, alone, names_of, taken_through

pytest.importorskip("torchvision.models", reason="needs the extra vision")


def test_a_network_goes_from_capture_to_a_file_that_agrees() -> None:
    row = taken_through("shufflenet_v2_x0_5", 64)
    assert row.agrees
    assert (row.side, row.layers, row.fused, row.refusal) == (64, 57, 1.0, "")


def test_a_network_that_is_not_done_in_time_is_ended() -> None:
    assert alone("squeezenet1_1", 64, 0.01) == Row(64, 0.01, refusal="not done within 0.01 s")


def test_only_networks_that_go_all_the_way_agree() -> None:
    assert Row(64, 1.0, folded=1e-6, file=1e-6).agrees
    assert not Row(64, 1.0, folded=1e-4, file=1e-6).agrees
    assert not Row(64, 1.0, refusal="no").agrees


def test_all_are_those_that_fit_the_memory() -> None:
    everything = names_of([], True)
    assert {"resnet18", "vgg19_bn", "regnet_y_32gf"} <= set(everything)
    assert not {"vit_h_14", "regnet_y_128gf"} & set(everything)
    assert names_of(["resnet18"], False) == ["resnet18"]
