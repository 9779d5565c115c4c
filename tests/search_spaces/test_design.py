import pytest
from ray import tune

from raysearch.search_spaces import bit_widths, channel_pruning, resnet, teachers
from raysearch.search_spaces.design import fixed_design
from raysearch.search_spaces.domains import read

DOMAINS = {
    "architecture": resnet(2),
    "pruning": channel_pruning(0.5, over=resnet(2)),
    "bits": bit_widths((2, 4), (4, 32), over=resnet(2)),
    "teacher": teachers("parent", None),
    "training": {"lr": tune.loguniform(1e-4, 1e-2)},
}


def test_values_are_the_nearest_that_the_space_has():
    parent = {"architecture": {"stem": {"width": 100}}, "training": {"lr": 1.0}}
    configs = list(fixed_design(read(DOMAINS), parent))
    assert [c["pruning"]["ratios"]["stem"] for c in configs] == pytest.approx([0.0, 0.15, 0.3, 0.45])
    for config in configs:
        assert config["architecture"]["stem"]["width"] == 64
        assert config["architecture"]["stage1"]["width"] in (32, 40)
        assert config["bits"]["stem"] == {"weights": 4, "activations": 4}
        assert config["bits"]["head"]["own"] is False
        assert config["teacher"]["name"] == "none"
        assert config["training"]["lr"] == 1e-2
