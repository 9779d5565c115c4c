"""What travels to a cluster with a study file."""

from __future__ import annotations

from pathlib import Path

import pytest

from raysearch.basics.failures import MissingFile, UserError
from raysearch.cli.package import pack

STUDY = """
task: {import: "own_task:task"}
space: {bits: {bit_widths: {weights: [8, 32], activations: [8, 32]}}}
objectives: [maximize accuracy, minimize size_mb]
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    for name in ("own_task.py", "parts/layers.py", "runs/a/weights.bin", ".git/HEAD", ".venv/lib.py"):
        write(tmp_path / name, "x")
    write(tmp_path / "study.yaml", STUDY)
    return tmp_path / "study.yaml"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_folder_travels_without_runs_environments_and_history(study: Path) -> None:
    package = pack(study)
    assert package.study == "study.yaml"
    assert sorted(package.files) == ["own_task.py", "parts/layers.py", "study.yaml"]
    assert package.excludes == ("/runs/",)
    assert package.mib == pytest.approx((len(STUDY) + 2) / 2**20)


def test_a_run_that_came_from_a_bucket_stays(study: Path) -> None:
    write(study.parent / "copied" / "journal" / "00000001.0.jsonl", "{}")
    assert not any("copied" in name for name in pack(study).files)


def test_run_folders_and_environments_of_any_name_stay(study: Path) -> None:
    write(study.parent / "old [1]*" / "journal.jsonl", "{}")
    write(study.parent / "old [1]*" / "trials" / "big", "x")
    write(study.parent / "python" / "pyvenv.cfg", "home = /usr")
    write(study.parent / "old 1" / "kept.py", "x")
    package = pack(study)
    assert sorted(package.files) == ["old 1/kept.py", "own_task.py", "parts/layers.py", "study.yaml"]
    assert package.excludes == ("/old \\[1\\]\\*/", "/python/", "/runs/")


def test_what_git_and_ray_ignore_and_what_a_user_excludes_stays(study: Path) -> None:
    write(study.parent / ".gitignore", "*.log\n")
    write(study.parent / ".rayignore", "data/\n")
    for name in ("a.log", "data/big.bin", "notes.txt"):
        write(study.parent / name, "x")
    assert {"a.log", "data/big.bin", "notes.txt"}.isdisjoint(pack(study, (), ["notes.txt"]).files)
    write(study.parent / ".gitignore", "*.yaml\n")
    with pytest.raises(UserError, match=r"study\.yaml does not travel: \.gitignore"):
        pack(study)


def test_it_is_what_ray_packs(study: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    import zipfile

    from ray._private.runtime_env.packaging import create_package

    write(study.parent / "old [1]*" / "journal.jsonl", "{}")
    package = pack(study)
    target = tmp_path_factory.mktemp("package") / "package.zip"
    excludes = [".git", ".venv", *package.excludes]
    create_package(str(package.folder), target, include_gitignore=True, excludes=excludes)
    packed = [name for name in zipfile.ZipFile(target).namelist() if not name.endswith("/")]
    assert sorted(packed) == sorted(package.files)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("task.module_folder=..", r"task\.module_folder: \.\. does not travel to the cluster"),
        ("task.module_folder=absent", r"task\.module_folder: absent does not travel"),
        ("search.warm_start=[runs/a]", r"search\.warm_start: runs/a does not travel"),
        ("search.num_trials=0", r"search\.num_trials is 0"),
        ("objectives=[maximize]", r"objective \"maximize\" is not"),
        ("nonsense", r"--set 'nonsense' is not KEY=VALUE"),
    ],
)
def test_what_cannot_work_there_is_refused_here(study: Path, override: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        pack(study, [override])


@pytest.mark.parametrize(
    "override", ["task.module_folder=parts", "search.warm_start=[/shared/runs/a, 's3://b/c']"]
)
def test_what_is_there_is_taken(study: Path, override: str) -> None:
    assert pack(study, [override]).files


def test_a_folder_of_data_travels_or_is_refused(study: Path) -> None:
    write(study, STUDY.replace('{import: "own_task:task"}', "{name: image_folder, folder: pictures}"))
    with pytest.raises(UserError, match=r"task\.folder: pictures does not travel"):
        pack(study)
    write(study.parent / "pictures" / "a.png", "x")
    assert "pictures/a.png" in pack(study).files


def test_more_than_ray_takes_is_refused(study: Path) -> None:
    with (study.parent / "data.bin").open("wb") as file:
        file.truncate(600 * 2**20)
    with pytest.raises(UserError, match=r"600 MiB to send.*less than 512; the largest file is data\.bin"):
        pack(study)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"study file .* does not exist"):
        pack(tmp_path / "study.yaml")
