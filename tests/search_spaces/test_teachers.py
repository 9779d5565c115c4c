import pytest
from ray.tune.search.sample import Domain

from raysearch.search_spaces import TeacherPlan, teachers
from raysearch.search_spaces.teachers import decode_teacher, encode_teacher


def test_a_space_of_teachers():
    space = teachers("parent", None, temperature=4, weight=(0.2, 0.8))
    assert space["name"].categories == ["parent", "none"]
    assert space["temperature"] == 4
    assert isinstance(space["weight"], Domain)


def test_without_a_teacher_nothing_else_counts():
    assert decode_teacher({"name": "none", "temperature": 3.0}) == decode_teacher({}) == TeacherPlan()
    assert decode_teacher({"name": None}) == TeacherPlan()
    plan = decode_teacher({"name": "larger", "temperature": 2, "weight": 0.3})
    assert decode_teacher(encode_teacher(plan)) == plan
    assert plan.active


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: teachers(), "must name each teacher once"),
        (lambda: teachers("parent", "parent"), "must name each teacher once"),
        (lambda: teachers("grandparent"), "from None, 'parent', 'larger'"),
        (lambda: teachers("parent", temperature=(8, 1)), "temperature=\\(8, 1\\): low must be below high"),
        (lambda: teachers("parent", weight=1.5), "weight=1.5 is not within"),
        (lambda: decode_teacher({"name": "tutor"}), "teacher/name is 'tutor'"),
        (lambda: decode_teacher({"name": "parent", "temperature": 0}), "teacher/temperature is 0"),
        (lambda: decode_teacher({"name": "parent", "weight": 2}), "teacher/weight is 2"),
        (lambda: decode_teacher({"wieght": 2}), "did you mean 'weight'"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
