"""Whatever templates print is escaped, for HTML and for readers."""

from __future__ import annotations

import pytest
from markupsafe import Markup

from plangate_inbox.web.rendering import Editable, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("p\u0430ypal", "p\\u0430ypal"),
        ("abc\u202edef", "abc\\u202edef"),
        ("two\nlines", "two\nlines"),
        ("\x1b[2J", "\\x1b[2J"),
        (Editable("p\u0430ypal"), "p\u0430ypal"),
        (Markup("<b>"), "<b>"),
        (3, 3),
    ],
)
def test_what_would_not_show_as_itself_is_written_as_an_escape(text: object, expected: object) -> None:
    assert shown(text) == expected
