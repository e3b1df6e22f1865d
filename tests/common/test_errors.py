from lightune.common.errors import listed, nearest


def test_a_typo_is_answered_with_the_nearest_name_first():
    assert nearest("bret", ["albert", "bert", "roberta"]).startswith("Did you mean 'bert'")


def test_a_name_unlike_any_other_lists_what_there_is():
    assert nearest("zzz", ["bert", "roberta"]) == "Available: bert, roberta."


def test_long_lists_are_cut_and_counted():
    assert listed(range(10), limit=3) == "0, 1, 2, … (7 more)"
