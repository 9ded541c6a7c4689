from __future__ import annotations

import io
import struct
import zipfile

import pytest

from helix_pipelines.parsing.containers.packages import (
    ExpansionMeter,
    check_expansion,
    open_package,
    package_kind,
    package_size,
)
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.resilience.errors import FileRejectedError
from helix_pipelines_tests.parsing.handmade import XLSX_TYPE, ods, xlsx, zipped

LIMITS = ParseLimits()


def checked(content: bytes, most: int = 10**9, limits: ParseLimits = LIMITS) -> int:
    package = open_package(io.BytesIO(content), limits)
    meter = ExpansionMeter(package_size(package), most, "HELIX_MAX_X", limits)
    check_expansion(package, meter)
    return meter.expanded


def outcome(content: bytes) -> str:
    try:
        checked(content)
    except FileRejectedError as rejection:
        return rejection.code
    return "sound"


def code_of(content: bytes, most: int = 10**9, limits: ParseLimits = LIMITS) -> str:
    with pytest.raises(FileRejectedError) as rejection:
        checked(content, most, limits)
    assert len(rejection.value.message) < 500
    return rejection.value.code


def test_a_sound_package_is_inflated_and_counted() -> None:
    assert checked(zipped({"a": "x" * 1000, "b": b"y"})) == 1001
    assert checked(zipped({"a": "x" * 1000}, zipfile.ZIP_STORED)) == 1000
    assert checked(zipped({})) == 0


def test_what_a_package_becomes_is_limited_in_bytes_and_in_ratio() -> None:
    content = zipped({"a": bytes(100_000)})
    assert code_of(content, most=99_999) == "EXPANDED_TOO_LARGE"
    assert code_of(zipped({"a": bytes(70 * 1024**2)})) == "EXPANSION_RATIO"


def test_a_declared_size_that_lies_is_found_out_without_being_believed() -> None:
    content = zipped({"a": bytes(100_000)})
    lying = content.replace(struct.pack("<L", 100_000), struct.pack("<L", 10))
    assert code_of(lying, most=99_999) == "EXPANDED_TOO_LARGE"
    assert code_of(lying) == "DAMAGED_ARCHIVE"


def test_the_number_of_members_is_limited_before_the_directory_is_read() -> None:
    content = zipped({f"{number}": b"" for number in range(30)})
    assert code_of(content, limits=ParseLimits(archive_members=29)) == "TOO_MANY_MEMBERS"
    end = content.rindex(b"PK\x05\x06")
    lying = content[: end + 8] + struct.pack("<HH", 1, 1) + content[end + 12 :]
    assert code_of(lying, limits=ParseLimits(archive_members=29)) in {"TOO_MANY_MEMBERS", "DAMAGED_ARCHIVE"}
    claiming = content[: end + 12] + struct.pack("<L", 1 << 31) + content[end + 16 :]
    assert code_of(claiming) == "DAMAGED_ARCHIVE"


def test_members_that_share_their_bytes_are_refused() -> None:
    content = zipped({"a": b"x" * 50, "b": b"x" * 50}, zipfile.ZIP_STORED)
    package = zipfile.ZipFile(io.BytesIO(content))
    second = package.getinfo("b").header_offset
    entry = content.rindex(b"PK\x01\x02")
    overlapping = content[: entry + 42] + struct.pack("<L", second - 40) + content[entry + 46 :]
    assert code_of(overlapping) == "DAMAGED_ARCHIVE"


def test_damage_anywhere_is_told_and_never_crashes() -> None:
    content = xlsx("<row/>")
    for cut in range(0, len(content), 37):
        assert code_of(content[:cut]) == "DAMAGED_ARCHIVE"
    for at in range(0, len(content), 41):
        damaged = content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]
        assert outcome(damaged) in {"sound", "DAMAGED_ARCHIVE", "ENCRYPTED_FILE", "TOO_MANY_MEMBERS"}


def test_an_encrypted_member_is_told_as_such() -> None:
    content = bytearray(zipped({"a": b"x"}, zipfile.ZIP_STORED))
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    assert code_of(bytes(content)) == "ENCRYPTED_FILE"


def test_an_unusual_method_of_packing_is_refused() -> None:
    assert code_of(zipped({"a": b"x" * 100}, zipfile.ZIP_BZIP2)) == "DAMAGED_ARCHIVE"


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        (xlsx(""), "xlsx", "Excel"),
        (zipped({"[Content_Types].xml": XLSX_TYPE.replace("sheet.main", "template.main")}), "xlsx", "Excel"),
        (zipped({"[Content_Types].xml": "application/vnd.ms-excel.sheet.binary.macroEnabled.main"}), "xlsb", "xlsb"),
        (zipped({"[Content_Types].xml": "x.wordprocessingml.document.main+xml spreadsheetml.sheet"}), None, "Word"),
        (zipped({"[Content_Types].xml": "x.presentationml.presentation.main+xml"}), None, "PowerPoint"),
        (ods(""), "ods", "OpenDocument"),
        (ods("", mimetype="application/vnd.oasis.opendocument.text"), None, "no spreadsheet"),
        (zipped({"mimetype": "application/epub+zip"}), None, "epub"),
        (zipped({"Index/Document.iwa": ""}), None, "Apple"),
        (zipped({"xl/notes.csv": "", "word/a.csv": ""}), "zip", "zip archive"),
    ],
)
def test_a_package_is_told_by_what_its_parts_say_it_is(content: bytes, name: str | None, words: str) -> None:
    kind = package_kind(open_package(io.BytesIO(content), LIMITS))
    assert kind.format == name
    assert words in kind.words


def test_a_spreadsheet_with_a_password_is_told_as_such() -> None:
    locked = ods("", manifest="<manifest:encryption-data manifest:checksum='x'/>")
    with pytest.raises(FileRejectedError, match="ENCRYPTED_FILE"):
        package_kind(open_package(io.BytesIO(locked), LIMITS))
