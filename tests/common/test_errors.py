from lightune.common.errors import listed, nearest


def test_the_nearest_name_comes_first():
    assert nearest("bret", ["albert", "bert", "roberta"]).startswith("Did you mean 'bert'")


def test_a_name_unlike_any_other_lists_all_names():
    assert nearest("zzz", ["bert", "roberta"]) == "Available: bert, roberta."


def test_long_lists_are_cut_and_the_rest_is_counted():
    assert listed(range(10), limit=3) == "0, 1, 2, … (7 more)"
