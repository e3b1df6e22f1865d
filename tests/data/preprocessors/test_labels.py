import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from lightune.common.errors import UserError
from lightune.data.preprocessors.labels import MULTI, REGRESSION, SINGLE, infer_labels


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
