from raysearch.basics.parts import is_heads, module_of


def test_heads_are_told_from_layers_that_are_called_so() -> None:
    assert is_heads("encoder.0.attention.(heads)")
    assert is_heads("(heads)")
    assert not is_heads("encoder.heads")
    assert not is_heads("")


def test_the_module_of_a_part() -> None:
    assert [module_of(name) for name in ("a.b.(heads)", "(heads)", "a.heads")] == ["a.b", "", "a.heads"]
