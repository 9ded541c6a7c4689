"""Small valid files of every format, from which a fuzzer starts."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import xlsxwriter

from helix_pipelines_tests.parsing import handmade

PAIRS = [
    ("How do I pay?", "By card."),
    ('Was heißt "HX-1"?', "Zeile 1\nZeile 2"),
    ("営業時間は？", "9時から"),
    ("=1+1", "-"),
]
TABLE = [("Question", "Answer"), *PAIRS]


def _csv(delimiter: str) -> Callable[[], bytes]:
    def write() -> bytes:
        lines = (delimiter.join('"' + field.replace('"', '""') + '"' for field in row) for row in TABLE)
        return "\r\n".join(lines).encode()

    return write


def _json_lines() -> bytes:
    return "\n".join(json.dumps({"question": q, "answer": a, "n": 1.5}, ensure_ascii=False) for q, a in PAIRS).encode()


def _json() -> bytes:
    squad = {"qas": [{"id": str(at), "question": q, "answers": [{"text": a}]} for at, (q, a) in enumerate(PAIRS)]}
    return json.dumps({"data": [{"title": "T", "paragraphs": [{"context": "C", **squad}]}]}).encode()


def _yaml() -> bytes:
    return b"""%YAML 1.2
---
# FAQ
categories: &c
- trivia
conversations:
- - Who?
  - 'He'
- - >
    Folded
    text
  - |
    kept
     as is
items:
- {question: Yes or no?, answer: NO, tags: *c}
- question: When?
  answer: 12:30
  <<: *c
...
"""


def _markdown() -> bytes:
    return b"""---
title: FAQ
---
# FAQ

[TOC](#a)

## How `do` I *pay*?

By card.

```sh
# no heading?
```

Where are you?
---

- Berlin
- > quoted

**Q: Why?**

A: Because.

<details><summary>What?</summary>

That.
</details>

| Question | Answer |
|---|---|
| a | b |
"""


def _html() -> bytes:
    answer = {"@type": "Answer", "text": "<b>b</b>"}
    page = {"@type": "FAQPage", "mainEntity": [{"@type": "Question", "name": "a?", "acceptedAnswer": answer}]}
    return f"""<!DOCTYPE html><html lang="de"><head><meta charset="utf-8">
<script type="application/ld+json">{json.dumps(page)}</script></head><body>
<h2 id="x">How?<a class="headerlink" href="#x">&para;</a></h2><p>So.<br>And <b>so</b>.</p><ul><li>1</li></ul>
<dl><dt>When?</dt><dd>Now.</dd></dl><details><summary>Why?</summary>Because &amp; why not.</details><pre> a
  b</pre><div itemscope itemtype="https://schema.org/Question"><h3 itemprop="name">M?</h3>
<div itemprop="acceptedAnswer"><p itemprop="text">N</p></div></div>
<table><tr><th>Question</th><th>Answer</th></tr><tr><td>c</td><td>d</td></tr></table>""".encode()


def _xlsx() -> bytes:
    target = io.BytesIO()
    with xlsxwriter.Workbook(target) as book:
        sheet = book.add_worksheet("FAQ")
        for at, row in enumerate(TABLE):
            sheet.write_row(at, 0, row)
        sheet.write_formula(5, 1, "=1+1")
        sheet.write_number(5, 0, 42.5)
        book.add_worksheet("hidden").hide()
    return target.getvalue()


def _ods() -> bytes:
    cells = [
        [f'<table:table-cell office:value-type="string"><text:p>{field}</text:p></table:table-cell>' for field in row]
        for row in TABLE
    ]
    rows = "".join(f"<table:table-row>{''.join(row)}</table:table-row>" for row in cells)
    spaces = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "table", "text")
    )
    content = (
        f"<office:document-content {spaces}><office:body><office:spreadsheet>"
        f'<table:table table:name="FAQ">{rows}</table:table>'
        "</office:spreadsheet></office:body></office:document-content>"
    )
    members = {"mimetype": handmade.ODS_TYPE, "META-INF/manifest.xml": "<m/>", "content.xml": content}
    return handmade.zipped(members)


def _parquet() -> bytes:
    target = io.BytesIO()
    questions, answers = zip(*PAIRS, strict=True)
    table = pa.table(
        {"question": questions, "answer": answers, "tags": [["a"], [], None, ["b", "c"]], "n": [1, 2, None, 4]}
    )
    pq.write_table(table, target, row_group_size=2)
    return target.getvalue()


def _zip() -> bytes:
    return handmade.zipped(
        {"en/faq.csv": _csv(",")(), "../de.jsonl": _json_lines(), "__MACOSX/x": b""}, zipfile.ZIP_DEFLATED
    )


SEEDS: dict[str, Callable[[], bytes]] = {
    "csv": _csv(","),
    "tsv": _csv("\t"),
    "jsonl": _json_lines,
    "json": _json,
    "yaml": _yaml,
    "markdown": _markdown,
    "html": _html,
    "xlsx": _xlsx,
    "ods": _ods,
    "parquet": _parquet,
    "zip": _zip,
}
"""Formats that a few lines can write; old workbooks (xls, xlsb) start from nothing but noise and the files of a collection."""


def write_seeds(name: str, corpus: Path) -> None:
    """Put a file of the format into a folder, where there is one."""
    if name in SEEDS:
        (corpus / f"seed-{name}").write_bytes(SEEDS[name]())
