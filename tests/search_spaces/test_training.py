import pytest

from raysearch.search_spaces import TrainingPlan
from raysearch.search_spaces.training import decode_training, encode_training


def test_absent_keys_take_their_defaults():
    assert decode_training({}, quantized=True) == TrainingPlan()
    plan = decode_training({"lr": 1, "batch_size": 32.0}, quantized=True)
    assert (plan.lr, plan.batch_size) == (1.0, 32)
    assert isinstance(plan.batch_size, int)


def test_settings_of_the_quantised_part_need_quantised_layers():
    plan = decode_training({"quantized_share": 0.5, "lr": 0.1}, quantized=False)
    assert plan == TrainingPlan(lr=0.1)
    assert "quantized_share" not in encode_training(plan, quantized=False)
    assert decode_training(encode_training(plan, quantized=True), quantized=True) == plan


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"learning_rate": 1}, "training has no key 'learning_rate'"),
        ({"batchsize": 1}, "did you mean 'batch_size'"),
        ({"lr": 0}, "training/lr is 0"),
        ({"lr": True}, "training/lr is True, not a number"),
        ({"batch_size": 0}, "training/batch_size is 0"),
        ({"weight_decay": -1}, "training/weight_decay is -1"),
        ({"label_smoothing": 1}, "training/label_smoothing is 1"),
        ({"quantized_share": 0}, "training/quantized_share is 0"),
    ],
)
def test_bad_settings(config, message):
    with pytest.raises(ValueError, match=message):
        decode_training(config, quantized=True)
