"""Archives of people's files: names lead nowhere, contents are bounded, and one bad member is its own affair."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

import pytest

from helix_pipelines.ingestion.archives import Member, store_members
from helix_pipelines.ingestion.store import ContentStore
from helix_pipelines.parsing.limits import ParseLimits
from helix_pipelines.resilience.errors import FileRejectedError

CSV = b"question,answer\nq,a\n"


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(str(tmp_path / "store"))


def archive(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in members:
            package.writestr(name, content)
    return packed.getvalue()


def members(data: bytes, store: ContentStore, limits: ParseLimits | None = None) -> list[Member]:
    return store_members(io.BytesIO(data), store, limits or ParseLimits())


def test_members_are_in_the_store_in_their_order_under_their_own_paths(store: ContentStore) -> None:
    found = members(archive(("b/faq.csv", CSV), ("a.csv", b"x"), ("b/", b"")), store)
    assert [member.path for member in found] == ["b/faq.csv", "a.csv"]
    assert found[0].sha256 is not None
    with store.open(found[0].sha256) as binary:
        assert binary.read() == CSV
    assert found[0].bytes == len(CSV)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "etc/passwd"),
        ("/etc/passwd", "etc/passwd"),
        ("..\\..\\windows\\x.csv", "windows/x.csv"),
        ("a/./b/../c.csv", "a/b/c.csv"),
        ("a\x1b[31m\nb.csv", "a_[31m_b.csv"),
        ("\u202efdp.csv", "_fdp.csv"),
        ("..", "unnamed"),
        ("x" * 5000 + ".csv", "x" * 196 + ".csv"),
        ("/".join("abcdefghijklmnopqrstuvwxyz"), "/".join("ghijklmnopqrstuvwxyz")),
        ("質問.csv", "質問.csv"),
    ],
)
def test_a_name_is_only_shown_and_leads_nowhere(store: ContentStore, tmp_path: Path, name: str, shown: str) -> None:
    [member] = members(archive((name, CSV)), store)
    assert member.path == shown
    assert {path.name for path in tmp_path.iterdir()} == {"store"}


def test_names_in_utf_8_without_the_flag_for_it_are_read_as_they_were_meant(store: ContentStore) -> None:
    data = archive(("質問.csv", CSV))
    assert data.count(b"\x08") >= 2
    unflagged = bytearray(data)
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        unflagged[data.index(magic) + at + 1] &= ~0x08
    assert [member.path for member in members(bytes(unflagged), store)] == ["質問.csv"]


def test_links_and_litter_are_left_out(store: ContentStore) -> None:
    link = zipfile.ZipInfo("link.csv")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    data = archive(
        (link, b"/etc/passwd"), ("__MACOSX/._faq.csv", b"x"), (".DS_Store", b"x"), ("~$faq.xlsx", b"x"), ("Thumbs.db", b"x"),
        ("faq.csv", CSV),
    )  # fmt: skip
    assert [member.path for member in members(data, store)] == ["faq.csv"]


def test_a_name_that_is_there_twice_is_numbered(store: ContentStore) -> None:
    data = archive(("faq.csv", CSV), ("./faq.csv", b"question,answer\nq,b\n"), ("x/../faq.csv", CSV))
    assert [member.path for member in members(data, store)] == ["faq.csv", "faq.csv (2)", "x/faq.csv"]


def test_a_damaged_member_is_refused_by_itself(store: ContentStore) -> None:
    data = bytearray(archive(("bad.csv", CSV * 50), ("good.csv", CSV)))
    data[40] ^= 0xFF
    bad, good = members(bytes(data), store)
    assert bad.refusal is not None
    assert (bad.refusal.code, bad.sha256) == ("DAMAGED_ARCHIVE", None)
    assert (good.refusal, good.bytes) == (None, len(CSV))


def test_an_encrypted_member_is_refused_by_itself(store: ContentStore) -> None:
    data = bytearray(archive(("secret.csv", CSV), ("good.csv", CSV)))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    secret, good = members(bytes(data), store)
    assert secret.refusal is not None
    assert secret.refusal.code == "ENCRYPTED_FILE"
    assert good.sha256 is not None


@pytest.mark.parametrize(
    ("packed", "limits", "code"),
    [
        ([], ParseLimits(), "EMPTY_ARCHIVE"),
        ([("a/", b"")], ParseLimits(), "EMPTY_ARCHIVE"),
        ([("a", b"x" * 2000)], ParseLimits(expanded_bytes=1999), "EXPANDED_TOO_LARGE"),
        ([("a", bytes(80 * 1024**2))], ParseLimits(), "EXPANSION_RATIO"),
        ([("a", b"1"), ("b", b"2"), ("c", b"3")], ParseLimits(archive_members=2), "TOO_MANY_MEMBERS"),
    ],
    ids=["no members", "a folder", "too large", "a bomb", "too many"],
)
def test_an_archive_that_asks_for_too_much_is_refused_as_a_whole(
    store: ContentStore, packed: list[tuple[str, bytes]], limits: ParseLimits, code: str
) -> None:
    with pytest.raises(FileRejectedError) as refusal:
        members(archive(*packed), store, limits)
    assert refusal.value.code == code


def test_an_archive_that_was_cut_off_is_refused_as_a_whole(store: ContentStore) -> None:
    with pytest.raises(FileRejectedError, match="DAMAGED_ARCHIVE"):
        members(archive(("a", b"1"))[:-10], store)


def test_a_member_that_is_too_large_is_refused_by_itself(store: ContentStore) -> None:
    data = archive(("large.csv", b"x" * 3000), ("good.csv", CSV))
    large, good = members(data, store, ParseLimits(file_bytes=2000))
    assert large.refusal is not None
    assert large.refusal.code == "FILE_TOO_LARGE"
    assert good.refusal is None
