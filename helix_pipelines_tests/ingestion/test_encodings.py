from __future__ import annotations

import io

import pytest

from helix_pipelines.ingestion import encodings
from helix_pipelines.ingestion.encodings import Encoding, checked_encoding, detect_encoding
from helix_pipelines.resilience.errors import FileRejectedError

JAPANESE = "質問,回答\nパスワードを忘れた場合はどうすればいいですか？,設定の画面から再発行してください。\n" * 3
CHINESE = "问题,答案\n如何修改我的银行卡密码？,请在设置页面中选择修改密码，然后按照提示操作。\n" * 3
KOREAN = "질문,답변\n비밀번호를 잊어버렸습니다. 어떻게 해야 하나요?,설정 화면에서 다시 발급받으세요.\n" * 3
RUSSIAN = "вопрос,ответ\nКак изменить пароль?,Откройте настройки и выберите пункт «Пароль».\n" * 3
GERMAN = "Frage,Antwort\nWie ändere ich mein Paßwort?,Öffnen Sie die Einstellungen – dort können Sie es ändern.\n" * 3
SPANISH = "pregunta,respuesta\n¿Cómo cambio mi contraseña?,Abra la página de configuración y elija la opción.\n" * 3
POLISH = (
    "pytanie,odpowiedź\nJak zmienić hasło?,Proszę otworzyć ustawienia i wybrać zmianę hasła, żeby się zalogować.\n" * 3
)
TURKISH = (
    "soru,yanıt\nŞifremi nasıl değiştirebilirim?,Ayarlar sayfasını açıp şifre değiştirme seçeneğini kullanın.\n" * 3
)


def detect(data: bytes, *, is_json: bool = False) -> Encoding:
    return detect_encoding(lambda: io.BytesIO(data), is_json=is_json)


@pytest.mark.parametrize(
    ("text", "codec", "shown"),
    [
        ("question,answer\n", "ascii", "utf-8"),
        (JAPANESE, "utf-8", "utf-8"),
        (JAPANESE, "utf-8-sig", "utf-8-sig"),
        ("\ufeff" + GERMAN, "utf-16-le", "utf-16-le"),
        ("\ufeff" + GERMAN, "utf-16-be", "utf-16-be"),
        ("\ufeff" + GERMAN, "utf-32-le", "utf-32-le"),
        (GERMAN, "utf-16-le", "utf-16-le"),
        (CHINESE, "utf-16-le", "utf-16-le"),
        (JAPANESE, "utf-16-be", "utf-16-be"),
        (JAPANESE, "cp932", "cp932"),
        (JAPANESE, "euc_jp", "euc-jp"),
        (JAPANESE, "iso2022_jp", "iso2022_jp"),
        (CHINESE, "gb18030", "gb18030"),
        (KOREAN, "cp949", "cp949"),
        (RUSSIAN, "cp1251", "cp1251"),
        (RUSSIAN.replace("«", '"').replace("»", '"'), "koi8_r", "koi8-r"),
        (GERMAN, "cp1252", "cp1252"),
        (SPANISH, "latin-1", "latin-1"),
        (POLISH, "cp1250", "cp1250"),
        (TURKISH, "cp1254", "cp1254"),
    ],
)
def test_encodings_are_recognised_from_a_few_lines(text: str, codec: str, shown: str) -> None:
    assert detect(text.encode(codec)) == Encoding(shown)


def test_the_last_line_of_a_long_file_decides_too() -> None:
    english = b"question,answer in plain English\n" * 30_000
    assert detect(english + GERMAN.encode("cp1252") * 200).name == "cp1252"
    assert detect(english + GERMAN.encode()).name == "utf-8"


def test_characters_cut_by_a_block_are_no_bad_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encodings, "BLOCK_BYTES", 101)
    for text, codec in ((JAPANESE, "cp932"), (CHINESE, "gb18030"), (JAPANESE, "utf-8"), (GERMAN, "utf-16-le")):
        assert detect((text * 20).encode(codec)) == Encoding(codec)


def test_a_stray_byte_in_a_long_utf_8_file_is_a_matter_of_its_row() -> None:
    found = detect(b"question,answer\n" * 10_000 + b"caf\xe9,x\n")
    assert found == Encoding("utf-8", has_bad_bytes=True)
    assert detect(JAPANESE.encode() + b"caf\xe9,x\n") == Encoding("utf-8", has_bad_bytes=True)


def test_a_stray_byte_in_json_speaks_less_against_utf_8() -> None:
    lines = b'{"question": "q", "answer": "a"}\n' * 30 + b'{"question": "caf\xe9"}\n'
    assert detect(lines, is_json=True) == Encoding("utf-8", has_bad_bytes=True)
    assert detect(lines).name in {"latin-1", "cp1252"}


def test_nul_characters_are_noticed_in_any_encoding() -> None:
    assert detect(b"a\0b,c\n" * 3) == Encoding("utf-8", has_nul=True)
    assert detect(("\ufeff" + GERMAN + "a\0b\n").encode("utf-16-le")) == Encoding("utf-16-le", has_nul=True)


def test_bytes_of_no_encoding_are_rejected() -> None:
    with pytest.raises(FileRejectedError, match="ENCODING_UNKNOWN"):
        detect(bytes(range(128, 256)) * 40)


def test_a_mark_that_lies_is_found_out() -> None:
    with pytest.raises(FileRejectedError, match="ENCODING_UNKNOWN"):
        detect(b"\xef\xbb\xbf" + GERMAN.encode("cp1252"))
    with pytest.raises(FileRejectedError, match="ENCODING_UNKNOWN"):
        detect(b"\xff\xfe" + b"\x00\xd8" * 50)


def test_an_encoding_that_does_not_exist_is_refused() -> None:
    with pytest.raises(FileRejectedError, match="no encoding named 'klingon'"):
        checked_encoding(lambda: io.BytesIO(b"x"), "klingon")
    with pytest.raises(FileRejectedError, match="ENCODING_UNKNOWN"):
        checked_encoding(lambda: io.BytesIO(b"x"), "base64")
