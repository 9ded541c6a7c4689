"""Header names that are understood without being told, by role and in order of preference.

Names are compared folded (`columns.folded`): lower case, full width made half, no spaces and no punctuation, so that
`Source URL`, `source_url` and `SOURCE-URL` are all `sourceurl`. Where several columns match a role, the one whose name stands
first here is taken.
"""

from __future__ import annotations

_QUESTION = """
question questions questiontext questionbody faqquestion userquestion q query querytext prompt ask utterance instruction input
inquiry question1 q1 pattern patterns
frage fragen fragestellung
pregunta preguntas
questionposée questionposee interrogation
domanda domande quesito
pergunta perguntas questao questão
pytanie pytania zapytanie
vraag vragen
fråga fraga spørsmål sporsmal spørgsmål sporgsmal kysymys spurning küsimus
otázka otazka otázky kérdés kerdes întrebare intrebare pitanje vprašanje klausimas jautājums
soru sorular câuhỏi cauhoi pertanyaan soalan tanong swali
вопрос вопросы питання запитання въпрос питање прашање пытанне
ερώτηση ερωτηση ερώτημα
سؤال السؤال پرسش سوال שאלה
प्रश्न सवाल প্রশ্ন கேள்வி ప్రశ్న คำถาม
質問 質問文 設問 問い 問題 問題文
问题 提问 提問 问句 问
질문 문제 물음
title heading
"""

_ANSWER = """
answer answers answertext answerbody faqanswer bestanswer acceptedanswer correctanswer a response responses reply completion
output solution answer1 a1
antwort antworten
respuesta respuestas contestación contestacion
réponse reponse réponses reponses
risposta risposte
resposta respostas
odpowiedź odpowiedz odpowiedzi
antwoord antwoorden
svar vastaus vastus
odpověď odpoved válasz valasz răspuns raspuns odgovor atsakymas atbilde
cevap yanıt yanit câutrảlời cautraloi trảlời jawaban jawapan sagot jibu
ответ ответы відповідь отговор одговор адказ
απάντηση απαντηση
جواب الجواب إجابة اجابة الإجابة پاسخ תשובה
उत्तर जवाब উত্তর பதில் సమాధానం คำตอบ
回答 回答文 答え 解答 答
答案 答复 答覆 回复 回覆
답변 대답 정답 답
answerhtml
"""

_CATEGORY = """
category categories topic topics theme section subject tag tags label intent department
kategorie thema rubrik bereich
categoría categoria tema
catégorie thème rubrique
argomento
kategoria temat
categorie onderwerp
kategori ämne aihe luokka
kategória téma konu
категория категорія тема рубрика раздел
κατηγορία κατηγορια
فئة الفئة تصنيف קטגוריה
श्रेणी หมวดหมู่
カテゴリ カテゴリー 分類 区分
类别 類別 分类 類別名 主题 科室
카테고리 분류
"""

_URL = """
url sourceurl pageurl link sourcelink weblink href permalink uri website webpage
enlace lien collegamento odkaz länk ссылка посилання رابط 链接 連結 網址 网址 リンク 링크
"""

_EXTERNAL_ID = """
externalid questionid qid faqid qaid recordid rowid id uid uuid guid identifier
kennung идентификатор 编号 編號 番号 번호
"""


SYNONYMS: dict[str, list[str]] = {
    "question": _QUESTION.split(),
    "answer": _ANSWER.split(),
    "category": _CATEGORY.split(),
    "url": _URL.split(),
    "external_id": _EXTERNAL_ID.split(),
}
