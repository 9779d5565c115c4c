import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from raysearch.allocation import Problem, allocate, branches_of, fit, importances_left_out
from raysearch.backends.measurement.protocol import Protocol
from raysearch.backends.measurement.service import MeasurementService
from raysearch.sweeps.branches import Branches
from raysearch.trainables import task
from raysearch.trainables.evaluation import evaluate
from raysearch.trainables.models.mvcnn import MVCNNPlan, build_mvcnn
from raysearch.trainables.quantization import size_mb

VIEWS = ("branches.0", "branches.1", "branches.2")
RATIOS = (0.25, 0.5, 0.75)


@pytest.fixture(scope="module")
def examples():
    """Three views; the class is how bright the first is, and little else."""
    torch.manual_seed(0)
    y = torch.arange(60) % 3
    x = 0.3 * torch.randn(60, 3, 1, 8, 8)
    x[:, 0] += y.view(-1, 1, 1, 1)
    return TensorDataset(x, y)


@pytest.fixture(scope="module")
def trained(examples):
    torch.manual_seed(0)
    net = build_mvcnn(MVCNNPlan(3, (4, 8), 8), 1, 3)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    x, y = examples.tensors
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net.eval()


@pytest.fixture(scope="module")
def branches(trained, examples):
    return Branches(trained, examples.tensors[0][:2], VIEWS)


def test_groups_that_reach_all_branches_are_nobodys(branches):
    assert branches.groups == {name: (f"{name}.conv1", f"{name}.conv2") for name in VIEWS}


def test_the_branch_that_knows_the_class_is_missed(branches, examples):
    whole, without = branches.left_out(examples)
    assert whole > 0.9
    importances = importances_left_out(whole, without)
    assert max(importances, key=importances.get) == "branches.0"


def test_leaving_out_leaves_no_trace(branches, examples):
    assert branches.left_out(examples) == branches.left_out(examples)


def test_a_row_for_each_point_of_each_branch(branches, examples):
    table = branches.responses(examples, ratios=RATIOS)
    assert table["branch"].tolist() == [name for name in VIEWS for _ in range(4)]
    assert table["ratio"].tolist() == [0, *RATIOS] * 3
    assert table["accuracy"][table["ratio"] == 0].nunique() == 1
    for _, rows in table.groupby("branch"):
        assert rows["size_mb"].is_monotonic_decreasing
        # What a branch loses, the network loses, for its features are not pruned.
        lost = rows[["size_mb", "network_mb"]].iloc[0] - rows[["size_mb", "network_mb"]]
        assert lost["size_mb"].to_numpy() == pytest.approx(lost["network_mb"].to_numpy())
    assert "latency_ms" not in table


def test_ratios_that_remove_as_many_channels_are_one_row(branches, examples):
    table = branches.responses(examples, ratios=(0.5, 0.51))
    assert len(table) == 6


def test_a_network_of_a_division_has_the_predicted_size(branches, trained, examples):
    table = branches.responses(examples, ratios=RATIOS)
    table["accuracy"] *= 100
    importances = importances_left_out(*branches.left_out(examples))
    found = allocate(Problem(branches_of(table, importances), total_cap=0.004), points=16)
    ratios = found.ratios_of(0)
    network = branches.pruned(ratios)
    rest = size_mb(trained) - sum(map(branches.size_mb, VIEWS))
    assert size_mb(network) - rest == pytest.approx(sum(branches.size_mb(n, network) for n in VIEWS))
    assert size_mb(network) - rest == pytest.approx(found.front["size_mb"][0], rel=0.2)
    assert ratios["branches.0"] < ratios["branches.1"]
    assert network.head.in_features == 8


def test_pruned_alike_a_network_has_the_accuracy_of_the_curve_that_all_branches_take(branches, examples):
    together = branches.together(examples, ratios=RATIOS)
    assert together["ratio"].tolist() == [0, *RATIOS]
    assert together["network_mb"].is_monotonic_decreasing
    accuracy = fit(together["ratio"], together["accuracy"])
    importances = importances_left_out(*branches.left_out(examples))
    problem = Problem(
        branches_of(branches.responses(examples, ratios=RATIOS), importances, accuracy=accuracy)
    )
    for ratio in RATIOS:
        network = branches.pruned(dict.fromkeys(VIEWS, ratio))
        predicted = float(problem.weighted_accuracy(np.full(3, ratio)))
        assert predicted == pytest.approx(float(accuracy(ratio)))
        whole = evaluate(network, examples, {"accuracy": task.accuracy})["accuracy"]
        assert predicted == pytest.approx(whole, abs=0.15)
    assert problem.accuracy_error == pytest.approx(accuracy.error)  # one curve's error does not average out


def test_networks_are_retrained_before_they_are_measured(branches, trained, examples):
    seen = []

    def blind(network):
        seen.append(network)
        nn.init.zeros_(network.head.weight)
        nn.init.constant_(network.head.bias, 0.0)

    table = branches.responses(examples, ratios=(0.5,), retrain=blind)
    assert table["accuracy"].tolist() == pytest.approx([1 / 3] * 6)
    assert len(seen) == 4
    assert trained not in seen
    assert trained.head.weight.abs().sum() > 0


def test_latency_of_branches_that_look_alike_is_measured_once(branches, examples):
    service = MeasurementService(Protocol(max_s=0.01, warm_s=0.0, max_rounds=1, round_samples=6))
    table = branches.responses(examples, ratios=(0.5,), target="onnxruntime-cpu", service=service)
    by_ratio = table.groupby("ratio")["latency_ms"]
    assert (by_ratio.nunique() == 1).all()
    assert (table["latency_ms"] > 0).all()


@pytest.mark.parametrize(
    "names", [None, ("stage1", "stage2"), ("stem.conv", "stage1.0.conv2")], ids=["groups", "stages", "some"]
)
def test_the_same_call_divides_a_budget_over_the_layers_of_a_resnet(network, inputs, names):
    data = TensorDataset(inputs, torch.arange(len(inputs)) % 10)
    branches = Branches(network, inputs[:2], names)
    assert len(branches.names) == (7 if names is None else 2)
    table = branches.responses(data, ratios=RATIOS)
    found = allocate(Problem(branches_of(table), total_cap=0.6 * sum(map(branches.size_mb, branches.names))))
    pruned = branches.pruned(found.ratios_of(0))
    predicted = found.front["size_mb"][0] + size_mb(network)
    predicted -= sum(map(branches.size_mb, branches.names))
    assert size_mb(pruned) < size_mb(network)
    assert size_mb(pruned) <= 1.1 * predicted  # channels are whole, and followers lose inputs
    assert pruned(inputs).shape == (len(inputs), 10)


def test_a_depthwise_follower_does_not_tie_two_stages(network, inputs):
    branches = Branches(network, inputs[:2], ["stage2", "stage3"])
    assert branches.groups["stage2"] == ("stage2.0.conv1", "stage2.0.conv2")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["branches.9"], "no branch 'branches.9'"),
        (["branches.0", "branches.0.conv1"], "'branches.0.conv1' lies inside the branch 'branches.0'"),
        (["head"], "'head' has no channels of its own"),
        (["branches.0.relu1"], "'branches.0.relu1' has no channels of its own"),
    ],
)
def test_bad_branches_are_refused(trained, examples, names, message):
    with pytest.raises(ValueError, match=message):
        Branches(trained, examples.tensors[0][:2], names)


def test_what_is_never_called_is_not_timed(trained, examples):
    whole = Branches(trained, examples.tensors[0][:2], ["branches"])
    with pytest.raises(ValueError, match="the branch 'branches' cannot be timed: the network never calls it"):
        whole.latency_ms("branches", target="onnxruntime-cpu")


def test_bad_divisions_are_refused(branches, examples):
    with pytest.raises(ValueError, match=r"no branch 'branches\.7'"):
        branches.pruned({"branches.7": 0.5})
    with pytest.raises(ValueError, match=r"the ratio 1\.0: it must be in \[0, 1\)"):
        branches.pruned({"branches.0": 1.0})


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_network_that_computes_its_weights_is_copied():
    net = nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 8)), nn.ReLU(), nn.Linear(8, 3))
    net(torch.randn(2, 4))  # leaves a weight with a history in the layer, which copy refuses
    assert Branches(net, torch.randn(2, 4), []).pruned({})(torch.randn(5, 4)).shape == (5, 3)


class TwoInputs(nn.Module):
    """Named inputs, of which each has a branch; one takes its own by name."""

    def __init__(self):
        super().__init__()
        self.picture, self.facts = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), Facts()

    def forward(self, x, facts):
        return self.picture(x) + self.facts(values=facts)


class Facts(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.last = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, values):
        return self.last(torch.relu(self.hidden(values)))


def test_a_network_of_several_inputs_is_measured_branch_by_branch():
    def collate(rows):
        x, facts, y = map(torch.stack, zip(*rows, strict=True))
        return {"x": x, "facts": facts}, y

    data = TensorDataset(torch.randn(12, 4), torch.randn(12, 5), torch.arange(12) % 3)
    inputs = {"x": torch.randn(2, 4), "facts": torch.randn(2, 5)}
    branches = Branches(TwoInputs(), inputs, ["picture", "facts"])
    service = MeasurementService(Protocol(max_s=0.01, warm_s=0.0, max_rounds=1, round_samples=6))
    loader = DataLoader(data, batch_size=4, collate_fn=collate)
    table = branches.responses(loader, ratios=(0.5,), target="onnxruntime-cpu", service=service)
    assert list(table["branch"]) == ["picture", "picture", "facts", "facts"]
    assert (table["latency_ms"] > 0).all()
