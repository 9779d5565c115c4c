from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from raysearch.basics.failures import UserError
from raysearch.study import study_of
from raysearch.study_file import build as config
from raysearch.study_file.space_text import parse_space
from raysearch.study_file.yaml_text import parse_yaml

STUDY = """
task: digits
space:
  architecture: {resnet: {depth: [1, 3], width: [8, 64]}}
  pruning: {channel_pruning: {max_ratio: 0.8}}
  bits: {bit_widths: {weights: [2, 8, 32], activations: [8, 32]}}
  teacher: {teachers: [parent, null]}
  training: {lr: {loguniform: [1e-4, 1.0e-2]}}
objectives: [maximize accuracy, minimize latency_ms/onnxruntime-cpu, minimise size_mb]
constraints: [accuracy >= parent - 0.02]
search: {num_trials: 48, epochs: 3, resources: {cpu: 2}}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "study.yaml"
    file.write_text(STUDY)
    return file


def test_defaults_are_filled_in(path: Path) -> None:
    study = config.load(path)
    assert study.task == {"name": "digits"}
    assert study.targets == ["onnxruntime-cpu"]
    assert study.search.searcher == "model_based"
    assert (study.search.resources.cpu, study.search.resources.gpu) == (2, 0)
    assert study.objectives[2] == "minimize size_mb"


def test_numbers_with_an_exponent_are_numbers(path: Path) -> None:
    training = config.load(path).space.training
    assert training == {"lr": {"loguniform": [1e-4, 1e-2]}}


def test_a_dumped_file_reads_back_equal(path: Path) -> None:
    study = config.load(path, ["search.max_minutes=2.5", "parent={training: {lr: 1e-3}}"])
    assert config.parse(parse_yaml(yaml.safe_dump(study.model_dump()), "dump")) == study


def test_overrides_reach_any_key(path: Path) -> None:
    study = config.load(
        path, ["search.num_trials=64", "space.training.lr={uniform: [0.1, 1]}", "search.resources.gpu=0.5"]
    )
    assert study.search.num_trials == 64
    assert study.search.epochs == 3
    assert study.space.training == {"lr": {"uniform": [0.1, 1]}}
    assert study.search.resources.gpu == 0.5


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.num_trial=3", "search has an unknown key 'num_trial'; did you mean 'num_trials'"),
        ("serch={}", "the study file has an unknown key 'serch'; did you mean 'search'"),
        ("search.resources.cpus=2", "search.resources has an unknown key 'cpus'; did you mean 'cpu'"),
        ("space.trainin={}", "space has an unknown key 'trainin'; did you mean 'training'"),
        ("search.num_trials=x", "search.num_trials is 'x': give a whole number"),
        ("search.num_trials=true", "search.num_trials is True: give a whole number"),
        ("search.num_trials=0", "search.num_trials is 0"),
        ("search.max_minutes=-1", "search.max_minutes is -1"),
        ("search.searcher=nsga", "searcher is 'nsga'; did you mean 'nsga2'"),
        ("search=3", "search is 3: give a mapping"),
        ("task=digit", "task 'digit' is unknown; did you mean 'digits'"),
        ("task=null", "task is None: give a name"),
        ("task={name: digits, import: 'a:b'}", "give a name"),
        ("objectives=maximize accuracy", "objectives is 'maximize accuracy': give a list"),
        ("objectives=[accuracy]", "is not \"maximize METRIC\""),
        ("objectives=[]", "objectives is empty"),
        ("constraints=[accuracy > 1]", "constraint \"accuracy > 1\" is not"),
        ("targets=[]", "targets is \\[\\]: give at least one"),
        ("task={name: mnist, folder: nowhere}", "nowhere does not exist"),
        ("task.folder=x", "--set"),
        ("search.seed", "--set 'search.seed' is not KEY=VALUE"),
        ("search.seed=[", "--set"),
        ("search.max_minutes=.inf", "search.max_minutes is inf: give a finite number"),
        ("search.resources.cpu=.nan", "search.resources.cpu is nan: give a finite number"),
        ("search.seed=4294967296", "search.seed is 4294967296: give less than"),
        ("search.scheduler={name: successive_halving, eta: .inf}", "eta is inf: it should be a finite"),
        ("targets={onnxruntime-cpu: 1}", "targets is {'onnxruntime-cpu': 1}: give a list"),
        ("targets=[{onnxruntime-cpu: 1}]", "targets.0 is {'onnxruntime-cpu': 1}: give a name, or"),
        ("sweep.parts=[0.1]", "sweep.parts.0 is 0.1: give a text, as it is called, in quotes"),
        ("constraints=[size_mb <= -1]", "can never be kept"),
        ("constraints=[accuracy >= 0.9, accuracy <= 0.8]", "cannot both be kept"),
        ("task={name: mnist, folder: 3}", "task.folder is 3: give a path"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(path: Path, override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        config.load(path, [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("objectives=[maximize acc]", "did you mean 'accuracy'"),
        ("space.training.batch_size=1.5", "training/batch_size is 1.5, not a whole number"),
        ("space.training.batch_size={choice: [1.5, 2]}", "training/batch_size is 1.5, not a whole number"),
        ("space.training.weight_decay=.nan", "training/weight_decay is nan: it must be finite"),
        ("space.training.lr={uniform: [.nan, 1]}", "give finite numbers"),
        ("space.training.lr={choice: [.inf]}", "training/lr is inf: it must be positive and finite"),
        (
            "space.teacher={teachers: {names: [parent], temperature: .nan}}",
            "temperature=nan is neither a finite",
        ),
        ("space.teacher={name: {choice: [parent]}, temperature: .nan}", "teacher/temperature is nan"),
        ("space.teacher={teachers: [[parent]]}", "must name each teacher once"),
        ("space.teacher={teachers: {names: parent}}", "names is 'parent': give a list"),
        (
            "space.pruning={multiple: 1.5, ratios: {stem: {choice: [0.5]}}}",
            "pruning/multiple is 1.5, not a whole",
        ),
        ("space.pruning={ratios: {stem: {choice: [abc]}}}", "pruning/ratios/stem is 'abc', not a number"),
        ("space.architecture={resnet: {width: [8, 1000000]}}", "width is 500000, not 1 to 8192"),
        ("objectives=[minimize latency_ms]", "did you mean 'latency_ms/onnxruntime-cpu'"),
        ("constraints=[latency_ms/torch-cpu <= 1]", "nothing reports"),
        ("constraints=[energy_mj/onnxruntime-cpu <= 1]", "energy meter"),
        ("constraints=[flash_mb/onnxruntime-cpu <= 1]", "onnxruntime-cpu says nothing of flash_mb, only of"),
        ("targets=[{name: mine, runtime: onnxruntime-cpu, thread: 2}]", "did you mean 'threads'"),
        ("targets=[{name: mine, runtime: onnxruntime-cpu, threads: 0}]", "threads is 0, give a whole number"),
        ("targets=[{name: a/b, runtime: onnxruntime-cpu}]", "name is 'a/b': give letters"),
        ("space.architecture.family=[1]", "family is \\[1\\]"),
        ("targets=[ethos-u55-256]", "computes layers of at most 8 bits alone, and space.bits has 32"),
    ],
)
def test_a_mistake_that_needs_the_task_is_one_sentence(path: Path, override: str, message: str) -> None:
    file = config.load(path, [override])
    with pytest.raises(ValueError, match=message):
        study_of(file)


def test_layers_that_are_called_by_numbers(path: Path) -> None:
    overrides = ["sweep.parts=[0, 2]", "space={bits: {0: {weights: {choice: [8]}}}}"]
    study = config.load(path, overrides)
    assert study.sweep.parts == ["0", "2"]
    assert list(study.space.bits or ()) == ["0"]


def test_each_mistake_has_its_line(path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        config.load(path, ["search.seed=-1", "search.epoch=1"])
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("- 1", "is not a mapping"),
        ("a: [1", r"is not YAML \(line"),
        ("a: 1\nb: 2\na: 3", "line 3 repeats the key 'a'"),
    ],
)
def test_text_that_is_no_study_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "study.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        config.load(tmp_path / "study.yaml")


def test_a_missing_file() -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml does not exist"):
        config.load(Path("nowhere.yaml"))


def test_weights_are_taken_from_the_file_and_names_stay(path: Path) -> None:
    (path.parent / "data").mkdir()
    (path.parent / "w.pth").touch()
    task = "task={name: image_folder, folder: data, model: resnet18, weights: "
    found = str((path.parent / "w.pth").resolve())
    for weights, wanted in (("w.pth", found), ("DEFAULT", "DEFAULT")):
        assert config.load(path, [f"{task}{weights}}}"]).task["weights"] == wanted
    own = config.load(path, ["task={import: 'm:f', weights: w.pth}"])
    assert own.task["weights"] == "w.pth", "what a user's own function is given stays as it is"


@pytest.mark.parametrize("family", ["resnet", "mobilenet", "vit", "conv1d", "mlp"])
def test_every_family_has_its_name_in_a_study_file(path: Path, family: str) -> None:
    study = config.load(path, [f"space.architecture={{{family}: {{}}}}"])
    assert parse_space({"architecture": study.space.architecture})["architecture"]["family"] == family


def test_a_folder_is_taken_from_the_file(path: Path) -> None:
    (path.parent / "data").mkdir()
    study = config.load(path, ["task={name: mnist, folder: data}"])
    assert study.task["folder"] == str((path.parent / "data").resolve())


def test_the_module_of_a_task_is_found_beside_the_file_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    home = tmp_path / "home"
    home.mkdir()
    (home / "task_beside.py").write_text("from raysearch import tasks\ndef make(): return tasks.digits()")
    study = home / "study.yaml"
    study.write_text(STUDY.replace("task: digits", "task: {import: 'task_beside:make'}"))
    monkeypatch.chdir(tmp_path)
    file = config.load(Path("home") / "study.yaml")
    assert file.task["module_folder"] == str(home)
    described = study_of(file).describe()
    monkeypatch.chdir("/")
    again = study_of(config.parse(described))  # as resume does
    assert again.describe() == described
    home.rename(tmp_path / "moved")
    with pytest.raises(UserError, match=f"task.module_folder: {home}, the place of task_beside, does not"):
        study_of(config.parse(described))


@pytest.mark.parametrize("error", ["ValueError", "OSError", "KeyError"])
def test_whatever_a_user_s_function_raises_is_a_sentence_that_names_its_line(
    error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "failing_task", raising=False)
    (tmp_path / "failing_task.py").write_text(f"def make():\n    raise {error}('no')")
    source = {"import": "failing_task:make", "module_folder": str(tmp_path)}
    with pytest.raises(UserError, match=rf"failed: {error}: '?no'? \(failing_task.py, line 2\)"):
        config.build_task(source)


def test_earlier_runs_are_found_beside_the_file_or_from_the_working_directory(
    path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (path.parent / "beside").mkdir()
    (elsewhere / "here").mkdir()
    monkeypatch.chdir(elsewhere)
    found = config.load(path, ["search.warm_start=[beside, here]"]).search.warm_start
    assert found == [str(path.parent / "beside"), str(elsewhere / "here")]


def test_a_warm_start_from_a_bucket_stays_as_it_is(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(
        "task: digits\nspace: {training: {lr: {loguniform: [1e-4, 1e-2]}}}\n"
        "objectives: [maximize accuracy]\nsearch: {warm_start: ['memory://bucket/runs/a']}\n"
    )
    assert config.load(path).search.warm_start == ["memory://bucket/runs/a"]


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"name": "digits", "sed": 1}, "task digits has no argument 'sed'; did you mean 'seed'"),
        ({"import": "json:nothing"}, "json has no 'nothing'"),
    ],
)
def test_a_task_that_cannot_be_made(path: Path, task: dict[str, Any], message: str) -> None:
    study = config.load(path)
    study.task = task
    with pytest.raises(ValueError, match=message):
        config.build_task(study.task)


def test_a_study_describes_itself_in_the_form_of_its_file(path: Path) -> None:
    study = study_of(config.load(path))
    described = study.describe()
    assert described["task"] == {"name": "digits"}
    assert described["search"]["epochs"] == 3
    assert described["space"]["training"]["lr"] == {"loguniform": [1e-4, 1e-2]}
    assert study_of(config.parse(described)).describe() == described


def test_an_unknown_target_is_refused_before_any_work(path: Path) -> None:
    study = config.load(path, ["targets=[onnxruntime-gpu]", "objectives=[maximize accuracy]"])
    with pytest.raises(ValueError, match="onnxruntime-cpu"):
        study_of(study)
