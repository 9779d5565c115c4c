"""The schema by itself: defaults, forms, and one sentence a mistake."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from raysearch.study_file.schema import Search, Section, StudyFile, check_search, parse
from raysearch.study_file.sentences import sentences

LEAST: dict[str, Any] = {
    "task": "digits",
    "space": {"training": {"lr": {"loguniform": [1e-4, 1e-2]}}},
    "objectives": ["maximize accuracy"],
}


def test_a_file_of_the_least_keys_has_all_defaults() -> None:
    file = parse(LEAST)
    assert file.task == {"name": "digits"}
    assert (file.parent, file.constraints, file.targets) == (None, [], ["onnxruntime-cpu"])
    assert (file.search.num_trials, file.search.epochs, file.search.searcher) == (None, 9, "model_based")
    assert file.sweep.ratios == [i / 10 for i in range(10)]
    assert parse(file.model_dump()) == file


def test_objectives_and_constraints_are_written_in_one_form() -> None:
    file = parse({**LEAST, "objectives": ["  maximize   accuracy"], "constraints": ["accuracy>=parent-0.02"]})
    assert file.objectives == ["maximize accuracy"]
    assert file.constraints == ["accuracy >= parent - 0.02"]


def test_a_method_without_options_is_its_name() -> None:
    plain = {"name": "nsga2"}
    assert parse({**LEAST, "search": {"searcher": plain}}).search.searcher == "nsga2"
    options = {"name": "nsga2", "population": 40}
    assert parse({**LEAST, "search": {"searcher": options}}).search.searcher == options


def test_a_sweep_needs_no_objectives_and_a_search_does() -> None:
    assert parse({"task": "digits"}).objectives == []
    with pytest.raises(ValueError, match="objectives is empty"):
        parse({**LEAST, "objectives": []})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 1.5}, "epochs is 1.5: "),
        ({"epochs": "2"}, "epochs is '2': give a whole number"),
        ({"num_trials": 0}, "num_trials is 0: give at least 1"),
        ({"max_minutes": 0}, "max_minutes is 0: give more than 0"),
        ({"resources": {"gpu": -1}}, "resources.gpu is -1: give at least 0"),
        ({"resources": {"gpu": 1.5}}, "resources.gpu is 1.5: give a whole number, or a share of one below 1"),
        ({"resources": {"memory_gb": 0}}, "resources.memory_gb is 0: give more than 0"),
        ({"resources": {"labels": ["spot"]}}, "resources.labels is \\['spot'\\]: give a mapping"),
        ({"resources": {"labels": {"zone": 3}}}, "resources.labels.zone is 3: give a text"),
        (
            {"resources": {"labels": {"zone": "!a"}}},
            "resources.labels has 'zone': '!a', which no node can have",
        ),
        ({"resources": {"labels": {"": "a"}}}, "resources.labels has '': 'a', which no node can have"),
        (
            {"resources": {"custom": {"fpga": 0}}},
            "resources.custom has 'fpga': 0, give a name and more than 0",
        ),
        (
            {"resources": {"custom": {"GPU": 1}}},
            "resources.custom has 'GPU', which has a key of its own: gpu",
        ),
        ({"searcher": ["nsga2"]}, "searcher is \\['nsga2'\\]: give a name"),
        ({"evaluate_first": 3}, "evaluate_first is 3: give a list"),
    ],
)
def test_settings_from_python_are_checked_alike(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        check_search(**settings)


def test_resources_that_were_not_given_are_not_there() -> None:
    assert check_search().resources.given == {"cpu": 1, "gpu": 0}  # as runs of before have written them
    given = {"cpu": 2, "gpu": 0, "memory_gb": 4, "labels": {"ray.io/market-type": "spot"}, "custom": {"x": 1}}
    assert check_search(resources=given).resources.given == given


def test_every_mistake_has_a_line_in_the_order_of_the_keys() -> None:
    with pytest.raises(ValueError) as caught:
        parse({**LEAST, "search": {"seed": -1, "epoch": 3}, "target": []})
    of_search, of_file = (", ".join(schema.model_fields) for schema in (Search, StudyFile))
    assert str(caught.value).splitlines() == [
        "search.seed is -1: give at least 0",
        f"search has an unknown key 'epoch'; did you mean 'epochs'? (known: {of_search})",
        f"the study file has an unknown key 'target'; did you mean 'targets'? (known: {of_file})",
    ]


def test_a_missing_key_and_a_wrong_choice_are_sentences_too() -> None:
    class Own(Section):
        needed: int
        flag: bool = True

    with pytest.raises(ValidationError) as caught:
        Own.model_validate({"flag": "yes"})
    schema: type[BaseModel] = Own
    told = sentences(caught.value, schema, "the file").splitlines()
    assert told == ["the key needed is missing", "flag is 'yes': give true or false"]
