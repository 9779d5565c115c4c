import pytest

from raysearch.search_spaces.keys import as_mapping, belongs, check_keys, part_of


def test_which_part_a_layer_belongs_to():
    assert belongs("stage1", "stage1")
    assert belongs("stage1.0.conv1", "stage1")
    assert not belongs("stage10.0.conv1", "stage1")
    assert part_of("layer1.0.conv", ("layer1", "layer1.0", "layer2")) == "layer1.0"
    assert part_of("head", ("stem",)) is None


def test_unknown_keys_are_refused_with_the_nearest():
    check_keys(["lr"], ["lr", "batch_size"], "training")
    with pytest.raises(ValueError, match="training has no key 'batchsize'; did you mean 'batch_size'"):
        check_keys(["batchsize"], ["lr", "batch_size"], "training")


def test_what_is_no_mapping_is_refused():
    assert as_mapping({"a": 1}, "bits") == {"a": 1}
    with pytest.raises(ValueError, match=r"bits is \[1\], not a mapping"):
        as_mapping([1], "bits")
