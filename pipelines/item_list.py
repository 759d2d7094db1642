"""Items as they are written on a command line: separated by commas, in quotes where they hold one."""

from __future__ import annotations

import re

from laclrec_tf.errors import InputError

# Quoted, with "" for a quote inside, or bare up to the next comma; spaces around either do not count.
_FIELD = re.compile(r'\s*(?:"(?P<quoted>(?:[^"]|"")*)"|(?P<bare>[^",][^,]*)?)\s*(?:,|$)')


def parse_items(text: str) -> list[str]:
    """Read a list of items, as a row of a CSV file is read.

    Args:
        text: `tent,stove`; an item that holds a comma or begins or ends with a space stands in quotes. Places without
            an item are skipped.

    Returns:
        The items in order.

    Raises:
        InputError: a quote is not closed, or something stands behind a closing quote.

    Example:
        >>> parse_items('tent, "pots, pans",,"6"" nail"')
        ['tent', 'pots, pans', '6" nail']
    """
    items = []
    place = 0
    while place < len(text):
        field = _FIELD.match(text, place)
        if field is None:
            raise InputError(
                f"Items are separated by commas, and one with a comma stands in quotes: 'tent,\"pots, pans\"'. "
                f"Received: {text[place:]!r}."
            )
        items.append(
            field["quoted"].replace('""', '"') if field["quoted"] is not None else (field["bare"] or "").rstrip()
        )
        place = field.end()
    return [item for item in items if item]
