import math

import pytest

from benchmarks import early_exit
from benchmarks.early_exit import Point, plain_accuracy


def test_an_exit_is_compared_with_the_line_through_the_plain_front():
    plain = [Point(0.9, 1.0), Point(0.8, 0.5), Point(0.7, 0.7)]  # the last is on no front
    assert plain_accuracy(plain, 0.75) == pytest.approx(0.85)
    assert plain_accuracy(plain, 0.5) == pytest.approx(0.8)
    assert plain_accuracy(plain, 2.0) == pytest.approx(0.9)
    assert math.isnan(plain_accuracy(plain, 0.4))  # none is as fast


def test_missing_data_is_a_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        early_exit.main(["--data", str(tmp_path)])
    assert stopped.value.code == 2
    assert "cifar10_subset.npz" in capsys.readouterr().err
