import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.search_spaces import bit_widths, resnet
from raysearch.search_spaces.bit_widths import LEGAL_BITS, decode_bits, encode_bits

PARTS = ("stem", "stage1", "stage2", "head")
ENTRY = st.fixed_dictionaries(
    {}, optional={k: st.sampled_from(LEGAL_BITS) for k in ("weights", "activations")} | {"own": st.booleans()}
)


@given(st.dictionaries(st.sampled_from(PARTS), ENTRY))
def test_the_canonical_form_is_explicit(config):
    plan = decode_bits(config, PARTS)
    assert decode_bits(encode_bits(plan), PARTS) == plan
    before = (32, 32)
    for part in PARTS:
        if not config.get(part, {}).get("own", True):
            assert plan.layer(f"{part}.conv") == before
        before = plan.layer(part)


def test_runs_of_equal_precision():
    config = {
        "stem": {"weights": 8, "activations": 8},
        "stage2": {"own": True, "weights": 4, "activations": 4},
    }
    plan = decode_bits({**config, "stage1": {"own": False, "weights": 2, "activations": 32}}, PARTS)
    assert [plan.layer(p) for p in PARTS] == [(8, 8), (8, 8), (4, 4), (4, 4)]
    assert plan.quantized
    assert plan.layer("other") == (32, 32)
    assert not decode_bits({}, PARTS).quantized


def test_only_what_can_differ_is_searched():
    assert list(bit_widths(8, 8, over=resnet(2))) == ["stem"]
    space = bit_widths((4, 8), 8, over=resnet(2))
    assert list(space) == list(PARTS)
    assert set(space["stem"]) == {"weights", "activations"}
    assert set(space["head"]) == {"own", "weights"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bit_widths((3, 8)), "weights=\\(3, 8\\) must name each value once, from 2, 4, 8, 16, 32"),
        (lambda: bit_widths(activations=(8, 8)), "activations="),
        (lambda: decode_bits({"stem": {"weights": 5}}, PARTS), "bits/stem/weights is 5"),
        (lambda: decode_bits({"stem": {"weight": 8}}, PARTS), "did you mean 'weights'"),
        (lambda: decode_bits({"stem": 8}, PARTS), "bits/stem is 8, not a mapping"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
