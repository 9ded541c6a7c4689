"""Pages that would multiply in their parser are refused in a moment; broken pages of real life are not."""

from __future__ import annotations

import pytest

from helix_pipelines.parsing.documents.html_bounds import refuse_costly
from helix_pipelines.resilience.errors import FileRejectedError

UNCLOSED = "".join(f"<b id=x{number}>" for number in range(400))


@pytest.mark.parametrize(
    "page",
    [
        f"<p>{UNCLOSED}</p>" + "<p>x" * 5000,
        f"<p>{UNCLOSED}" + "<div>x</div>" * 5000,
        f"{UNCLOSED}<table><tr><td>x</td></tr></table>" + "<p>x" * 5000,
        "".join(f"<p><i class=c{number}>x</p>" for number in range(5000)),
    ],
)
def test_formatting_that_is_never_closed_must_not_multiply(page: str) -> None:
    with pytest.raises(FileRejectedError, match="HTML_UNREADABLE"):
        refuse_costly(page)


@pytest.mark.parametrize("page", ["<div>" * 100_000, "<b id=1>" * 100_000, "<ul><li>" * 1000])
def test_elements_nested_beyond_what_browsers_show_are_refused(page: str) -> None:
    with pytest.raises(FileRejectedError, match="NESTED_TOO_DEEPLY"):
        refuse_costly(page)


@pytest.mark.parametrize(
    "page",
    [
        "<ul>" + "<li><b>x" * 5000,
        "<table>" + "".join(f"<tr><td><b id={number}>x<td><i>y" for number in range(5000)),
        "".join(f"<p><a href={number}>x</p>" for number in range(5000)),
        "<font color=red>" + "<p>x</p>" * 20_000,
        "<!-- " + UNCLOSED + "-->" + "<p>x" * 5000,
    ],
)
def test_what_people_forget_to_close_does_no_harm(page: str) -> None:
    refuse_costly(page)
