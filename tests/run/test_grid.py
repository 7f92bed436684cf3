"""Tables for people, as text."""

from trivium.run.screen.grid import markdown_table, short_names


def test_a_markdown_table_puts_words_left_and_numbers_right() -> None:
    assert markdown_table(["name", "n"], [["a", "1"], ["b", "20"]]) == (
        "| name | n |\n| :-- | --: |\n| a | 1 |\n| b | 20 |"
    )


def test_a_bar_in_a_cell_of_a_markdown_table_begins_no_other_cell() -> None:
    table = markdown_table(["a|b"], [["c|d"]])
    assert table.splitlines()[0] == "| a\\|b |"
    assert table.splitlines()[2] == "| c\\|d |"


def test_names_on_a_screen_leave_out_the_path_that_all_have_in_common() -> None:
    assert short_names(["runs/a/1", "runs/a/2", "runs/b"]) == ["a/1", "a/2", "b"]
    assert short_names(["runs/a", "/else/b"]) == ["runs/a", "/else/b"]
