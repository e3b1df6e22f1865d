from lightune.common.html_blocks import Table
from lightune.tasks.analysis.labels import OneLabel, SeveralLabels

NAMES = ["anger", "fear", "joy"]


def test_several_labels_show_what_is_predicted_instead_and_together():
    cases = [([1, 0, 0], [0, 1, 0]), ([1, 0, 0], [0, 1, 0]), ([1, 1, 0], [1, 1, 0]), ([0, 0, 1], [1, 1, 0])]
    rows = [{"true": true, "predicted": predicted, "probabilities": [0.5] * 3} for true, predicted in cases]
    instead, together, by_name = SeveralLabels(rows, NAMES).details()
    assert instead.rows[0] == ["anger", "fear", "2", "66.7%"]
    assert sorted(instead.rows[1:]) == [["joy", "anger", "1", "100.0%"], ["joy", "fear", "1", "100.0%"]]
    assert together.rows == [["anger, fear", "1", "2"]]
    assert [row[0] for row in by_name.rows] == NAMES


def test_several_labels_without_a_mistake_have_the_table_of_labels_alone():
    rows = [{"true": [1, 0, 0], "predicted": [1, 0, 0], "probabilities": [0.5] * 3}]
    assert len(SeveralLabels(rows, NAMES).details()) == 1


def test_of_very_many_labels_the_worst_are_shown_and_a_line_says_so():
    names = [f"label {index}" for index in range(150)]
    # every tenth is never right; the test has none of the last 30
    rows = [
        {"true": i, "predicted": (i + 1) % 120 if i % 10 == 0 else i, "probabilities": [1 / 150] * 150}
        for i in range(120)
    ]
    mistaken, by_name = OneLabel(rows, names).details()
    assert isinstance(by_name, Table)
    assert len(mistaken.rows) == 12
    assert len(by_name.rows) == 50
    assert {row[0] for row in by_name.rows[:12]} == {name for index, name in enumerate(names[:120]) if index % 10 == 0}
    assert not {row[0] for row in by_name.rows} & {*names[120:]}
    assert by_name.caption == "The 50 of 150 labels with the lowest F1; metrics.json has all"
