"""Which encoding a page says it is in, in the terms of the web."""

from __future__ import annotations

import re

from helix_pipelines.parsing.text import codec_name

PRESCAN_BYTES = 8_192
"""Browsers look at 1,024 bytes; some tools write comments and styles before the declaration."""

_META = re.compile(rb"<meta\b[^>]{0,500}?\bcharset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
_XML = re.compile(rb"<\?xml\b[^>]{0,200}?\bencoding\s*=\s*[\"']([\w.:-]{1,40})[\"']", re.IGNORECASE)
_COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)

# https://encoding.spec.whatwg.org/#names-and-labels: what a label means to browsers, where Python takes it more narrowly.
_WIDER = {
    "ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "tis-620": "cp874", "iso8859-11": "cp874",
    "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949", "big5": "big5hkscs",
    "utf-16": "utf-8", "utf-16-le": "utf-8", "utf-16-be": "utf-8",
}  # fmt: skip
_NAMES = {
    "x-sjis": "cp932",
    "windows-31j": "cp932",
    "x-gbk": "gb18030",
    "windows-949": "cp949",
    "x-x-big5": "big5hkscs",
}


def declared_charset(head: bytes) -> str | None:
    """The Python codec for what the start of a page declares (`<meta charset>`, XML declaration), None without a known one."""
    start = _COMMENT.sub(b"", head[:PRESCAN_BYTES]).lstrip()
    if not start.startswith(b"<"):
        return None
    found = _META.search(start) or _XML.match(start)
    if found is None:
        return None
    label = found[1].decode("ascii", "replace").lower()
    name = codec_name(_NAMES.get(label, label))
    return None if name is None else _WIDER.get(name, name)
