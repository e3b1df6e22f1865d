import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from lightune.common.errors import UserError
from lightune.data.preprocessors.labels import MULTI, REGRESSION, SINGLE, encode_labels, infer_labels


def labels(values: list, names: list[str] | None = None, feature: object = None):
    features = Features({"label": feature}) if feature else None
    return infer_labels(Dataset.from_dict({"label": values}, features=features), "label", label_names=names)


def test_class_names_in_the_data_keep_their_order():
    inferred = labels([1, 0], feature=ClassLabel(names=["neg", "pos"]))
    assert (inferred.names, inferred.problem_type) == (["neg", "pos"], SINGLE)


def test_words_are_sorted():
    assert labels(["yes", "no", "maybe", "no"]).names == ["maybe", "no", "yes"]


def test_whole_numbers_are_sorted_by_size_also_as_text():
    assert labels([10, 2, 1]).names == ["1", "2", "10"]
    assert labels(["10", "2", "1"]).names == ["1", "2", "10"]


def test_numbers_with_a_fraction_are_a_regression_also_as_text():
    for values in ([0.5, 1.0], ["0.5", "1"]):
        inferred = labels(values)
        assert inferred.problem_type == REGRESSION
        assert inferred.head["num_labels"] == 1
    assert inferred.encode("2.25") == 2.25


def test_label_names_stand_for_indices():
    inferred = labels([0, 1], ["bad", "good"])
    assert inferred.names == ["bad", "good"]


def test_lists_are_several_labels_at_once():
    inferred = labels([["a", "c"], [], ["b"]], feature=List(Value("string")))
    assert (inferred.names, inferred.problem_type) == (["a", "b", "c"], MULTI)
    assert inferred.encode(["c", "a"]) == [1.0, 0.0, 1.0]
    assert inferred.encode([]) == [0.0, 0.0, 0.0]


def test_the_model_gets_names_by_index():
    head = labels(["b", "a"]).head
    assert head["id2label"] == {0: "a", 1: "b"}
    assert head["label2id"] == {"a": 0, "b": 1}
    assert head["problem_type"] == "single_label_classification"


def test_one_class_alone_is_refused():
    with pytest.raises(UserError, match="nothing to tell apart"):
        labels(["same", "same"])


def test_an_unknown_label_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="'positve' is not one of the labels. Did you mean 'positive'"):
        labels(["positive", "negative"]).encode("positve")


def test_true_and_false_are_words():
    assert labels([True, False, True]).names == ["False", "True"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "nan", 1e39])
def test_a_number_that_no_loss_can_take_is_refused(value: object):
    with pytest.raises(ValueError, match="too large or not a number"):
        labels([0.5, 1.5]).encode(value)


@pytest.mark.parametrize(
    "values",
    [[0.0, 1.0, 0.0], [0, 1, 0], ["0.0", "1.0", "0"], ["0", "1", "0"], [0.0, 1.0, None], [0.0, 1.0, float("nan")]],
)
def test_whole_numbers_are_the_same_classes_in_every_format(values: list, caplog: pytest.LogCaptureFixture):
    with caplog.at_level("INFO"):
        inferred = labels(values)
    assert (inferred.names, inferred.problem_type) == (["0", "1"], SINGLE)
    assert [inferred.encode(value) for value in (1, 1.0, "1", "1.0", " 1.00")] == [1] * 5
    assert "whole numbers are 2 classes; for a regression set data.label_names=[value]" in caplog.text


def test_numbers_with_one_name_are_a_regression():
    inferred = labels([1.0, 2.0, 3.0], ["value"])
    assert (inferred.names, inferred.problem_type) == (["value"], REGRESSION)
    assert labels(["1", "2", "3"], ["stars"]).encode("2.0") == 2.0


def test_two_spellings_of_one_label_are_told(caplog: pytest.LogCaptureFixture):
    with caplog.at_level("INFO"):
        assert labels(["0", "0.0", "1"]).names == ["0", "1"]
        assert labels(["yes", " yes", "no"]).names == ["no", "yes"]
    assert "'0', '0.0' are one label, '0'" in caplog.text
    assert "' yes', 'yes' are one label, 'yes'" in caplog.text


@pytest.mark.parametrize("indices", [[0, 1, 1], [0.0, 1.0, 1.0], ["0", "1", "1"], ["0.0", "1.0", "1.0"]])
def test_names_stand_for_indices_in_every_format(indices: list):
    rows = Dataset.from_dict({"label": indices})
    assert encoded(rows, label_names=["bad", "good"]) == [0, 1, 1]


def test_names_that_are_numbers_are_no_indices():
    assert encoded(Dataset.from_dict({"label": [1, 2, 3]}), label_names=["1", "2", "3"]) == [0, 1, 2]
    feature = Features({"label": ClassLabel(names=["1", "2", "3"])})
    assert encoded(Dataset.from_dict({"label": [0, 1, 2]}, features=feature)) == [0, 1, 2]


def encoded(rows: Dataset, column: str | list[str] = "label", **options: object) -> list:
    options = {"label_names": None, **options}
    return encode_labels(rows, column, infer_labels(rows, column, **options), split="train", **options)


SEVERAL = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]  # insult, toxic


@pytest.mark.parametrize(
    ("values", "options"),
    [
        ([["insult"], ["toxic"], ["toxic", "insult"], []], {}),
        (["['insult']", "['toxic']", "['toxic', 'insult']", "[]"], {}),
        (['["insult"]', '["toxic"]', '["toxic", "insult"]', "[]"], {}),
        (["('insult',)", "{'toxic'}", "['toxic' 'insult']", "()"], {}),
        (["insult", "toxic", "toxic|insult", ""], {"separator": "|"}),
        (["insult", "toxic", " toxic, insult ", ","], {"separator": ","}),
        ([["insult"], ["toxic"], ["toxic", "insult"], []], {"separator": "|"}),
        ([{"insult": i, "toxic": t} for i, t in SEVERAL], {}),
        ([{"insult": bool(i), "toxic": bool(t)} for i, t in SEVERAL], {}),
        ([str({"insult": int(i), "toxic": int(t)}) for i, t in SEVERAL], {}),
        (['{"insult": true, "toxic": false}', '{"insult": 0, "toxic": 1}', "{'toxic': True, 'insult': True}", "{'toxic': 0, 'insult': 0}"], {}),
        ([[0], [1], [0, 1], []], {"label_names": ["insult", "toxic"]}),
        ([[1, 0], [0, 1], [1, 1], [0, 0]], {"label_names": ["insult", "toxic"]}),
        (["[1, 0]", "[0, 1]", "[1, 1]", "[0, 0]"], {"label_names": ["insult", "toxic"]}),
        ([["1.0", "0.0"], ["0.0", "1.0"], ["1.0", "1.0"], ["0.0", "0.0"]], {"label_names": ["insult", "toxic"]}),
        ([[1, 0], [0, 1], [1, 1], [0, 0]], {}),
        ([[True, False], [False, True], [True, True], [False, False]], {}),
    ],
)  # fmt: skip
def test_several_labels_in_every_spelling(values: list, options: dict, caplog: pytest.LogCaptureFixture):
    with caplog.at_level("INFO"):
        rows = Dataset.from_dict({"label": values})
        assert encoded(rows, **options) == SEVERAL
    assert "so several labels at once: " in caplog.text


@pytest.mark.parametrize(
    ("no", "yes"), [("0", "1"), (0, 1), (0.0, 1.0), ("0.0", "1.0"), (False, True), ("false", "TRUE")]
)
def test_a_column_for_each_label(no: object, yes: object):
    rows = Dataset.from_dict({"toxic": [yes, no, no], "insult": [no, yes, no], "text": ["a", "b", "c"]})
    assert encoded(rows, ["toxic", "insult"]) == [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    assert infer_labels(rows, ["toxic", "insult"], label_names=None).names == ["toxic", "insult"]
    assert infer_labels(rows, ["toxic", "insult"], label_names=["T", "I"]).names == ["T", "I"]
    with pytest.raises(UserError, match=r"row 1.*\[.*\] has 2 values for 3 labels"):
        encoded(rows, ["toxic", "insult"], label_names=["a", "b", "c"])


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (["['toxic']", "['insult']", "toxic"], {}, "row 3.*'toxic' is not a list like the other labels"),
        (["['toxic']", "['insult']", "['toxic'"], {}, "row 3.*is not a list"),
        (["['toxic']", "['insult']", ""], {}, "no label in column 'label' of 1 row"),
        ([[1, 0, 1], [0, 1, 0], [1, 1]], {}, r"row 3.*\[1, 1\] has 2 values for 3 labels"),
        ([[1, 0, 1], [0, 1, 0]], {"label_names": ["a", "b"]}, "row 1.*has 3 values for 2 labels"),
        ([[0.2, 0.7], [0.1, 0.4]], {}, "lists of numbers with a fraction, such as"),
        ([{"a": 1, "b": 0.5}, {"a": 1, "b": 0}], {}, "row 1.*'b' is neither 0 nor 1"),
        ([{"a": 1, "b": -1}, {"a": 1, "b": 0}], {}, "row 1.*'b' is neither 0 nor 1"),
        ([{"a": 1}, {"b": 1}], {}, "row 1.*'b' is neither 0 nor 1"),
        ([{"a": "many", "b": "few"}], {}, "row 1.*'a' is neither 0 nor 1"),
        ([["a", "b"], ["a", None]], {}, "row 2.*None is not one of the labels"),
        (["toxic|insult", None], {"separator": "|"}, "no label in column 'label' of 1 row"),
    ],
)  # fmt: skip
def test_what_is_no_label_among_several_is_refused_with_its_row(values: list, options: dict, message: str):
    with pytest.raises(UserError, match=message) as caught:
        encoded(Dataset.from_dict({"label": values}), **options)
    assert len(str(caught.value).splitlines()) <= 4


def test_brackets_around_a_word_are_part_of_its_name():
    assert labels(["[POS]", "[NEG]", "(other)"]).names == ["(other)", "[NEG]", "[POS]"]
