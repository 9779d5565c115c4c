import threading
import time

import pytest
import torch
from torch import nn

from raysearch.networks.running import check_runs, within_time_limit


def test_work_within_the_limit_keeps_its_result_and_errors():
    assert within_time_limit(lambda: 3, 1, "it") == 3
    with pytest.raises(ValueError, match="it failed: ZeroDivisionError"):
        within_time_limit(lambda: 1 // 0, 1, "it")


def test_work_that_goes_on_is_stopped_in_any_thread():
    def forever():
        while True:
            time.sleep(0.01)

    messages = []

    def outside():
        try:
            within_time_limit(forever, 0.1, "it")
        except ValueError as error:
            messages.append(str(error))

    before = threading.active_count()
    other = threading.Thread(target=outside)
    other.start()
    other.join()
    assert messages == ["it took longer than 0.1 s"]
    assert threading.active_count() == before


def test_a_forward_pass_names_the_innermost_layer():
    model = nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.ReLU(), nn.Linear(9, 2))).train()
    with pytest.raises(
        ValueError, match=r"the layer '1.1' \(Linear\) fails at the operator 'linear' .*\(1, 4\)"
    ):
        check_runs(model, torch.zeros(1, 4))
    assert model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    check_runs(model[0], torch.zeros(1, 4))
