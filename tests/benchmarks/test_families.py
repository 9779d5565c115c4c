import pandas as pd
import pytest
import torch

from benchmarks import families
from benchmarks.signals import signal_task, signals


def test_the_volume_is_a_share_of_the_rectangle_of_errors_and_sizes():
    front = pd.DataFrame({"accuracy": [1.0, 0.7], "size_mb": [1e-3, 2e-3]})
    assert families.volume(front) == pytest.approx(1)
    front = pd.DataFrame({"accuracy": [0.9], "size_mb": [10**-1.5]})
    assert families.volume(front) == pytest.approx(0.25)


def test_an_unknown_family_is_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        families.main(["mobilnet"])
    assert stopped.value.code == 2
    assert "did you mean 'mobilenet'" in capsys.readouterr().err


def test_signals_are_the_same_for_the_same_seed_and_of_all_kinds():
    first, second = signals(64, 3), signals(64, 3)
    assert torch.equal(first.tensors[0], second.tensors[0])
    assert not torch.equal(first.tensors[0], signals(64, 4).tensors[0])
    assert set(first.tensors[1].tolist()) == {0, 1, 2, 3}
    task = signal_task()
    assert task.build()(task.example_input(2)).shape == (2, 4)
