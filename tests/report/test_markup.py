"""Whatever is not markup is escaped, wherever it stands."""

import pytest

from simflow.report.markup import Markup, join, tag

HOSTILE = "<script>alert('x')</script> & \"quotes\""


def test_text_and_attributes_are_escaped():
    made = tag("p", HOSTILE, attributes={"title": HOSTILE})
    assert "<script>" not in made
    assert made.count("&lt;script&gt;") == 2
    assert '"quotes"' not in made


def test_elements_stay_as_they_are_and_text_beside_them_does_not():
    assert tag("p", tag("b", "1 < 2"), " & 3") == "<p><b>1 &lt; 2</b> &amp; 3</p>"


def test_joining_gives_markup_so_nothing_is_escaped_twice():
    once = join(["a & b"])
    assert isinstance(once, Markup)
    assert join([once, None, [once]]) == "a &amp; ba &amp; b"


def test_void_elements_have_no_end_and_no_content():
    assert tag("img", attributes={"alt": ""}) == '<img alt="">'
    with pytest.raises(AssertionError, match="no content"):
        tag("br", "text")
