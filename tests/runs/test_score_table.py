from lightune.runs.score_table import label_table


def test_names_are_printed_as_they_are():
    """rich would read brackets as its own markup, and fail on ``[/b]`` at the end of a long run."""
    from rich.console import Console

    names = ["[/b]", "[red]"]
    metrics = {f"test/{figure}/{name}": 0.5 for figure in ("precision", "recall") for name in names}
    console = Console(width=100)
    with console.capture() as captured:
        console.print(label_table(metrics, "test", names, [[1, 2], [3, 4]]))
    assert all(captured.get().count(name) == 2 for name in names)
