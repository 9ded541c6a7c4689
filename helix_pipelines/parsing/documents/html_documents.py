"""Reader of HTML: what a page states for machines first, then its structures that hold questions."""

from __future__ import annotations

from helix_pipelines.parsing.documents.document_rows import (
    DocumentReader,
    Found,
    most_pairs,
    questions_not_found,
    read_document,
)
from helix_pipelines.parsing.documents.html_blocks import defined_pairs, folded_pairs, tabled_pairs
from helix_pipelines.parsing.documents.html_faq_page import json_ld_pairs, marked_pairs
from helix_pipelines.parsing.documents.html_headings import heading_pairs
from helix_pipelines.parsing.documents.html_pages import Page, parse_page
from helix_pipelines.parsing.request import ReadRequest

KNOWN = (
    "schema.org FAQ pages (JSON-LD, microdata, RDFa), <details> and <dl> with questions, headings that are questions with text "
    "below, and tables with a question and an answer column"
)


class HtmlReader(DocumentReader):
    """Reads each pair once, though pages often state them twice; the answer is the plain text that a person would read.

    Raises FileRejectedError: DOCUMENT_TOO_LARGE, NESTED_TOO_DEEPLY, HTML_UNREADABLE, QUESTIONS_NOT_FOUND.
    """

    version = "html-1"

    def __init__(self, request: ReadRequest) -> None:
        page = parse_page(read_document(request))
        stated = json_ld_pairs(page)
        found = most_pairs((stated,)) or most_pairs((marked_pairs(page),)) or _visible_pairs(page, request)
        if found is None:
            raise questions_not_found(KNOWN)
        if found is not stated:
            found.notes += stated.notes
        super().__init__(found, request.limits)


def _visible_pairs(page: Page, request: ReadRequest) -> Found | None:
    return most_pairs(
        (
            folded_pairs(page),
            defined_pairs(page),
            heading_pairs(page),
            tabled_pairs(page, request.mapping),
        )
    )
