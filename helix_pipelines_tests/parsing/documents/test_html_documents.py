from __future__ import annotations

import html
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.parsing.notes import NoteCode
from helix_pipelines.resilience.errors import FileRejectedError
from helix_pipelines_tests.parsing.reading import read

WORD = st.text(st.characters(categories=["L", "Nd", "Po", "Sm"], exclude_characters="\u037e"), min_size=1, max_size=12)
SENTENCE = st.lists(WORD, min_size=1, max_size=6).map(" ".join)
QUESTION = SENTENCE.map(lambda words: f"What is {words} so?")
LINES = st.lists(SENTENCE.map(lambda words: f"an {words}"), min_size=1, max_size=4)
MICRODATA = (
    "<div itemscope itemtype='https://schema.org/Question'><b itemprop='name'>{}</b>"
    "<div itemprop='acceptedAnswer' itemscope><div itemprop='text'>{}</div></div></div>"
)
RDFA = (
    "<div typeof='schema:Question'><b property='schema:name'>{}</b>"
    "<div property='schema:acceptedAnswer'><div property='schema:text'>{}</div></div></div>"
)
FORMS = (
    "<h2>{}</h2>{}",
    "<section id='x'><h3>{}<a class='headerlink' href='#x'>¶</a></h3>{}</section>",
    "<div><div class='q'><h3><button>{}</button></h3></div><div class='a' hidden>{}</div></div>",
    "<details><summary>{}</summary>{}</details>",
    "<dl><dt>{}</dt><dd>{}</dd></dl>",
    "<dl><div><dt>Q: {}</dt><dd>{}</dd></div></dl>",
    "<table><tr><th>Question</th><th>Answer</th></tr><tr><td>{}</td><td>{}</td></tr></table>",
    MICRODATA,
    RDFA,
)
PAIRS = st.lists(st.tuples(QUESTION, LINES), min_size=1, max_size=8)


def page(body: str, head: str = "") -> str:
    return f"<!DOCTYPE html>\n<html lang='en'><head><title>x</title>{head}</head><body>\n{body}\n</body></html>"


def paragraphs(lines: list[str]) -> str:
    return "".join(f"<p>{html.escape(line)}</p>\n" for line in lines)


def json_ld(pairs: list[tuple[str, str]]) -> str:
    entries = [
        {"@type": "Question", "name": question, "acceptedAnswer": {"@type": "Answer", "text": answer}}
        for question, answer in pairs
    ]
    content = json.dumps({"@context": "https://schema.org", "@type": "FAQPage", "mainEntity": entries})
    return f'<script type="application/ld+json">{content}</script>'.replace("</p", "<\\/p")


@given(
    PAIRS,
    st.sampled_from(FORMS),
    st.booleans(),
)
def test_pairs_come_back_from_every_structure(pairs: list[tuple[str, list[str]]], form: str, is_page: bool) -> None:
    body = "".join(form.format(html.escape(question), paragraphs(lines)) for question, lines in pairs)
    found = read(page(body) if is_page else body)
    assert found.sniffed.format == "html"
    assert found.pairs == [(question, "\n".join(lines)) for question, lines in pairs]


@given(PAIRS)
def test_what_a_page_states_for_machines_is_taken_once_though_it_shows_it_too(
    pairs: list[tuple[str, list[str]]],
) -> None:
    stated = json_ld([(html.escape(question), paragraphs(lines)) for question, lines in pairs])
    shown = "".join(f"<h2>{html.escape(question)}</h2>{paragraphs(lines)}" for question, lines in pairs)
    found = read(page(shown, stated))
    assert found.reader.mapping == {"question": "JSON-LD Question", "answer": "JSON-LD acceptedAnswer"}
    assert found.pairs == [(question, "\n".join(lines)) for question, lines in pairs]


@pytest.mark.parametrize(
    "stated",
    [
        {"@graph": [{"@type": "WebPage"}, {"@type": "Question", "name": "Why?", "acceptedAnswer": {"text": "So."}}]},
        [{"@type": ["Question"], "name": "Why?", "acceptedAnswer": [{"text": "So."}]}],
        {"@type": "FAQPage", "mainEntity": {"@type": "Question", "name": "<b>Why?</b>", "acceptedAnswer": "So."}},
        {"@type": "QAPage", "mainEntity": {"@type": "Question", "name": "Why?", "suggestedAnswer": [{"text": "So."}]}},
        [
            {"@id": "#a", "@type": "Answer", "text": "<p>So.</p>"},
            {"@type": "https://schema.org/Question", "name": "Why?", "acceptedAnswer": {"@id": "#a"}},
        ],
    ],
)
def test_json_ld_is_read_in_all_its_shapes(stated: object) -> None:
    assert read(f"<script type='application/ld+json'>{json.dumps(stated)}</script>").pairs == [("Why?", "So.")]


def test_json_ld_that_is_no_json_is_noted_and_the_page_read_as_it_shows() -> None:
    found = read(page("<h2>Why?</h2><p>So.</p>", "<script type='application/ld+json'>{'a'</script>"))
    assert found.pairs == [("Why?", "So.")]
    assert [note.code for note in found.reader.notes] == [NoteCode.PART_LEFT_OUT]


def test_half_characters_and_nuls_in_json_ld_are_quarantined() -> None:
    found = read(json_ld([("Why \ud800?", "So."), ("How?", "\0"), ("Who?", "Me."), ("What?", " ")]))
    assert found.refused == [(1, "LONE_SURROGATE"), (2, "NUL_BYTE"), (4, "ANSWER_MISSING")]
    assert found.pairs == [("Who?", "Me.")]


def test_an_answer_is_the_text_that_a_person_reads() -> None:
    body = """<h2>How?</h2><nav>menu</nav>
    <p>Do   <b>this</b> &amp;
    that:<br>now</p><ul><li>one<ul><li>deep</li></ul></li><li><p>two</p></li></ul><ol><li>first</li><li>second</li></ol>
    <pre>  a\n\n    b</pre><img alt="a picture" src="x"><script>x()</script><style>p{}</style>
    <span style="display: none">no</span><i aria-hidden="true">no</i><button>Copy</button><template>no</template>"""
    expected = "Do this & that:\nnow\n- one\n  - deep\n- two\n1. first\n2. second\n  a\n\n    b\na picture"
    assert read(page(body)).pairs == [("How?", expected)]


def test_a_question_knows_where_it_stands() -> None:
    body = "<h1>Help</h1><h2>Billing</h2><h3 id='why'>Why?</h3>"
    body += "<p>See <a href='https://example.org/x'>x</a>, <a href='/y'>y</a>.</p>"
    row = read(page(body, "<link rel='canonical' href='https://example.com/faq'>")).rows[0]
    assert (row.category, row.url) == ("Billing", "https://example.com/faq#why")
    assert row.extra == {"section": ["Help", "Billing"], "links": ["https://example.org/x"], "language": "en"}
    assert read(page(body)).rows[0].extra["anchor"] == "why"


def test_terms_share_their_definitions() -> None:
    found = read("<dl><dt>Why?</dt><dt>How come?</dt><dd>a</dd><dd>b</dd></dl>")
    assert found.pairs == [("Why?", "a\nb"), ("How come?", "a\nb")]


def test_folded_parts_that_hold_others_are_their_category() -> None:
    inner = "<details><summary>Why?</summary>So.</details>"
    found = read(f"<details><summary>Billing</summary>{inner}</details>")
    assert found.pairs == [("Why?", "So.")]
    assert found.rows[0].category == "Billing"


def test_headings_of_menus_and_those_without_a_question_mark_are_left_out_and_noted() -> None:
    body = (
        "<nav><h3>Why?</h3>menu</nav><h2>Why?</h2><p>a</p><h2>How it began</h2><p>b</p><footer><h3>Who?</h3>c</footer>"
    )
    found = read(page(body))
    assert found.pairs == [("Why?", "a")]
    assert "'How it began'" in found.reader.notes[0].message


def test_a_question_whose_answer_is_not_there_takes_no_other_text() -> None:
    found = read(page("<ul><li><h3>Why?</h3></li><li><h3>How?</h3><p>b</p></li></ul><p>end</p>"))
    assert found.refused == [(1, "ANSWER_MISSING")]
    assert found.pairs == [("How?", "b")]


def test_bytes_that_are_no_text_and_nuls_are_quarantined_with_their_pair() -> None:
    content = page("<h2>Wh\u00e9\u00e9n?</h2><p>a@</p><h2>Why?</h2><p>a|</p><h2>How?</h2><p>fine</p>").encode()
    found = read(content.replace(b"@", b"\xff").replace(b"|", b"\0"))
    assert found.refused == [(1, "BAD_ENCODING"), (2, "NUL_BYTE")]
    assert found.rows[0].raw["answer"] == "a\\xff"
    assert found.pairs == [("How?", "fine")]


@pytest.mark.parametrize(
    ("head", "codec", "found_as"),
    [
        ("<meta charset='windows-1251'>", "cp1251", "cp1251"),
        ("<meta http-equiv='Content-Type' content='text/html; charset=KOI8-R'>", "koi8_r", "koi8-r"),
        ("<meta charset='iso-8859-1'>", "utf-8", "utf-8"),
        ("<meta charset='utf-8'>", "cp1251", "cp1251"),
        ("<meta charset='no-such'>", "utf-8", "utf-8"),
        ("<meta charset='utf-16'>", "utf-8", "utf-8"),
        ("<meta charset='utf-8'>", "utf-16", "utf-16-le"),
    ],
)
def test_a_declared_charset_is_believed_unless_the_bytes_say_otherwise(head: str, codec: str, found_as: str) -> None:
    answer = "Для этого нужно открыть настройки и выбрать пункт меню. " * 3
    found = read(page(f"<h2>Что это?</h2><p>{answer}</p>", head).encode(codec))
    assert found.sniffed.encoding == found_as
    assert found.pairs == [("Что это?", answer.strip())]


def test_an_xml_declaration_counts_too() -> None:
    content = "<?xml version='1.0' encoding='iso-8859-2'?>\n<!DOCTYPE html><html><body><h2>Proč?</h2><p>Přišli.</p></body></html>"
    found = read(content.encode("iso8859_2"))
    assert (found.sniffed.encoding, found.pairs) == ("iso8859-2", [("Proč?", "Přišli.")])


@pytest.mark.parametrize(
    "content",
    [
        "<!-- saved -->\n<!-- twice -->\n<html><h2>Why?</h2>So.",
        "\ufeff \n<section><h2>Why?</h2>So.</section>",
        "<H2>Why?</H2>So.",
    ],
)
def test_html_is_recognised_behind_what_stands_before_it(content: str) -> None:
    found = read(content)
    assert (found.sniffed.format, found.pairs) == ("html", [("Why?", "So.")])


def test_a_page_without_questions_is_rejected_and_told_what_is_recognised() -> None:
    glossary = "<dl><dt>open(path)</dt><dd>Opens.</dd></dl>"
    for body in ("<table><tr><td>05</td></tr></table>", glossary, "<details><summary>More</summary>x</details>"):
        with pytest.raises(FileRejectedError, match=r"QUESTIONS_NOT_FOUND.*schema.org"):
            read(page(body))


def test_a_page_beyond_the_limit_is_rejected() -> None:
    with pytest.raises(FileRejectedError, match=r"DOCUMENT_TOO_LARGE.*HELIX_MAX_DOCUMENT_BYTES"):
        read(page("x" * 1000), limits=ParseLimits(document_bytes=1000))


@pytest.mark.parametrize("tag", ["div", "span", "b", "a href=x", "font", "ul><li", "table><tr><td", "x-y"])
def test_elements_nested_deeper_than_browsers_show_are_rejected_at_once(tag: str) -> None:
    began = time.process_time()
    with pytest.raises(FileRejectedError, match="NESTED_TOO_DEEPLY"):
        read(page(f"<{tag}>" * 100_000))
    assert time.process_time() - began < 5


def test_end_tags_that_are_left_out_are_no_nesting() -> None:
    rows = "<tr><td><b>a<td><i>b" * 1000
    found = read(page(f"<h2>Why?</h2><p>So.{'<p>x<li>y' * 1000}<table>{rows}</table>"))
    assert found.rows[0].question == "Why?"


@pytest.mark.parametrize(
    "bomb",
    [
        "<p>" * 50_000,
        "<li>" * 50_000,
        "<!--" * 50_000,
        "<script>" * 20_000,
        "<br>" * 50_000,
        "</div>" * 50_000,
        "<h2>Why?</h2>" * 10_000,
        "<details><summary>Why?</summary>" * 400,
        "<div><h6>Why?</h6></div>" * 10_000,
        "<script type='application/ld+json'>" + "[" * 100_000 + "</script>",
        "&amp" * 50_000,
        "<dl><dt>Why?" * 200,
        "<p " + "a=b " * 20_000 + ">",
    ],
)
def test_no_page_takes_long(bomb: str) -> None:
    began = time.process_time()
    assert read(page(f"<h2>Why?</h2><p>So.</p>{bomb}")).rows
    assert time.process_time() - began < 10


@settings(max_examples=300)
@given(
    st.lists(
        st.sampled_from([
            "<h2>", "</h2>", "Why?", "<details>", "<summary>", "</summary>", "</details>", "<dl>", "<dt>", "<dd>", "</dl>",
            "<table>", "<tr>", "<td>", "<p>", "<div>", "</div>", "<!--", "-->", "<script type=application/ld+json>", "</script>",
            '{"@type":"Question","name":"a","acceptedAnswer":', "}", "<template>", "<pre>", "\0", "&#0;", "<svg>", "<a href=#x>",
            "<b itemtype=Question>", "<b itemprop=name>", "<b itemprop=acceptedAnswer>", "<select>", "<frameset>", "x",
        ]),
        max_size=20,
    )
)  # fmt: skip
def test_any_markup_is_read_or_rejected(parts: list[str]) -> None:
    try:
        found = read("<html>" + "".join(parts))
    except FileRejectedError:
        return
    assert all(row.question.strip() and row.answer.strip() for row in found.rows if row.code is None)
