"""Containers made by hand: workbooks with what no program writes, and compound files with any names."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping

RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
XLSX_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"
ODS_TYPE = "application/vnd.oasis.opendocument.spreadsheet"


def zipped(members: Mapping[str, str | bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target.getvalue()


def xlsx(sheet_data: str, prolog: str = "") -> bytes:
    """A workbook with the sheet `FAQ`; `sheet_data` is the XML of its rows."""
    return zipped(
        {
            "[Content_Types].xml": f'<Types><Override PartName="/xl/workbook.xml" ContentType="{XLSX_TYPE}"/></Types>',
            "_rels/.rels": f'<Relationships xmlns="{RELATIONS}"><Relationship Id="rId1" Type="{OFFICE}/officeDocument"'
            ' Target="xl/workbook.xml"/></Relationships>',
            "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{RELATIONS}"><Relationship Id="rId1"'
            f' Type="{OFFICE}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
            "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets><sheet name="FAQ" sheetId="1"'
            ' r:id="rId1"/></sheets></workbook>',
            "xl/worksheets/sheet1.xml": f'{prolog}<worksheet xmlns="{MAIN}"><sheetData>{sheet_data}</sheetData></worksheet>',
        }
    )


def text_cell(place: str, text: str) -> str:
    return f'<c r="{place}" t="inlineStr"><is><t>{text}</t></is></c>'


def ods(rows: str, mimetype: str = ODS_TYPE, manifest: str = "") -> bytes:
    """A spreadsheet with the table `FAQ`; `rows` is its XML."""
    names = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "table", "text")
    )
    content = (
        f"<office:document-content {names}><office:body><office:spreadsheet>"
        f'<table:table table:name="FAQ">{rows}</table:table>'
        "</office:spreadsheet></office:body></office:document-content>"
    )
    parts = {"mimetype": mimetype, "content.xml": content, "META-INF/manifest.xml": manifest or "<manifest/>"}
    return zipped(parts)


def ods_cell(text: str, attributes: str = "") -> str:
    return f'<table:table-cell office:value-type="string" {attributes}><text:p>{text}</text:p></table:table-cell>'


def compound(*names: str) -> bytes:
    """A compound file whose root holds empty streams of these names: header, one FAT sector, one of directory."""
    end, none, fat_sector = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<5H", 0x3E, 3, 0xFFFE, 9, 6)
    header += bytes(10) + struct.pack("<9L", 1, 1, 0, 4096, end, 0, end, 0, 0) + struct.pack("<108L", *[none] * 108)
    fat = struct.pack("<128L", fat_sector, end, *[none] * 126)
    entries = [_entry("Root Entry", 5, none, 1 if names else none)]
    entries += [_entry(name, 2, at + 1 if at < len(names) else none, none) for at, name in enumerate(names, start=1)]
    return header + fat + b"".join(entries).ljust(512, b"\0")


def _entry(name: str, kind: int, right: int, child: int) -> bytes:
    text = name.encode("utf-16-le")
    none = 0xFFFFFFFF
    return text.ljust(64, b"\0") + struct.pack("<HBB3L", len(text) + 2, kind, 1, none, right, child) + bytes(48)


def xls(rows: list[list[str]], sheet: str = "FAQ") -> bytes:
    """An Excel 97 workbook ([MS-XLS] 2.4) of texts of up to 255 ASCII characters, in a compound file of large sectors."""
    begin = struct.pack("<4H2L", 0x0600, 5, 0x0DBB, 0x07CC, 0, 6)
    cells = b"".join(
        _record(0x0204, struct.pack("<4HB", at, column, 0, len(text), 0) + text.encode("ascii"))
        for at, row in enumerate(rows)
        for column, text in enumerate(row)
    )
    name = struct.pack("<BB", len(sheet), 0) + sheet.encode("ascii")
    start = len(_record(0x0809, begin)) + len(_record(0x0085, bytes(6) + name)) + len(_record(0x000A, b""))
    globals_ = _record(0x0809, begin) + _record(0x0085, struct.pack("<LH", start, 0) + name) + _record(0x000A, b"")
    sheet_begin = struct.pack("<4H2L", 0x0600, 0x0010, 0x0DBB, 0x07CC, 0, 6)
    stream = globals_ + _record(0x0809, sheet_begin) + cells + _record(0x000A, b"")
    stream = stream.ljust(max(4096, -(-len(stream) // 512) * 512), b"\0")
    return _with_stream(compound("Workbook"), stream)


def _record(kind: int, content: bytes) -> bytes:
    return struct.pack("<2H", kind, len(content)) + content


def _with_stream(container: bytes, stream: bytes) -> bytes:
    """The container with its first stream's content in the sectors from the third on."""
    first, count, end = 2, len(stream) // 512, 0xFFFFFFFE
    chain = struct.pack(f"<{count}L", *range(first + 1, first + count), end)
    fat, entry = 512, 1024 + 128
    content = bytearray(container)
    content[fat + 4 * first : fat + 4 * first + len(chain)] = chain
    content[entry + 116 : entry + 128] = struct.pack("<LQ", first, len(stream))
    return bytes(content) + stream
