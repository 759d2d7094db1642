"""Items on a command line."""

import pytest

from laclrec_tf.cli.options import parse_items
from laclrec_tf.errors import InputError


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("a,b", ["a", "b"]),
        (" a , b c ,", ["a", "b c"]),
        ("", []),
        (" , ,", []),
        ('"a,b",c', ["a,b", "c"]),
        ('c , "a,b" ,d', ["c", "a,b", "d"]),
        ('" a "', [" a "]),
        ('"6"" nail",6" nail', ['6" nail', '6" nail']),
        ('""', []),
    ],
)
def test_items_are_read_as_a_row_of_csv(text, items):
    assert parse_items(text) == items


@pytest.mark.parametrize("text", ['"a', '"a"b', 'a,"b""', '"a" "b"'])
def test_quotes_are_closed_and_stand_around_the_whole_item(text):
    with pytest.raises(InputError, match="separated by commas.*Received"):
        parse_items(text)
