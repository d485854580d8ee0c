#!/usr/bin/env python3
"""Texts in ten scripts of writing, and the ids that Python's tokenizers gives for them.

usage: make_script_ids.py TOKENIZER_JSON OUT_JSON      (needs tokenizers; the version goes into the file)

OUT_JSON: {"tokenizers", "texts": [1,000 texts, 100 of each script], "ids": [their ids, special tokens included]}. Texts are words of a
sentence or two in each script, drawn by lot, with signs, digits, emoji and white space between them; every fiftieth is a long one.
"""

import json
import random
import sys

import tokenizers

WORDS = {
    "Latin": "the battery died after two days größer français über naïve coração żółty İstanbul unbelievable telephone x9 don't çok dobrý",
    "Cyrillic": "батарея села через два дня и никто не ответил красивый український їжак љубав здравей",
    "Greek": "η μπαταρία πέθανε μετά από δύο μέρες κανείς δεν απάντησε ὁ λόγος ἦν",
    "Arabic": "العربية لغة جميلة من اليمين إلى اليسار مُدَرِّسٌ کتاب اچھا است پایتخت",
    "Hebrew": "הסוללה מתה אחרי יומיים ואף אחד לא ענה לטלפון בְּרֵאשִׁית",
    "Devanagari": "बैटरी दो दिन बाद खत्म हो गई और किसी ने फोन नहीं उठाया संस्कृतम् क्षेत्र",
    "Thai": "แบตเตอรี่หมดหลังจากสองวันและไม่มีใครรับโทรศัพท์ สวัสดีครับ ภาษาไทย น้ำ",
    "Hangul": "배터리가 이틀 만에 죽었고 아무도 전화를 받지 않았습니다 한국어 날씨가 좋습니다 ㅋㅋㅋ",
    "Han": "电池 两天后 就没电了 没有人 接电话 今天天气很好 我们去公园散步吧 繁體中文 機器學習",
    "Kana": "バッテリーは 二日で 切れて しまい 誰も 電話に 出ません でした カタカナ ひらがな ﾊﾝｶｸ が",
}
SIGNS = [
    " ",
    " ",
    " ",
    " ",
    " ",
    " ",
    ", ",
    ". ",
    "! ",
    "? ",
    "  ",
    "\n",
    "\t",
    " – ",
    "… ",
    "\u00a0",
    "\u3000",
    "。",
    "、",
    " 123 ",
    " 4,567.89 ",
    " 🙂 ",
    " ½ ",
    "\u200b",
    "/",
    "-",
]

random.seed(21)
texts = []
for script, words in WORDS.items():
    words = words.split()
    for number in range(100):
        count = random.randint(150, 400) if number in (49, 99) else random.randint(1, 16)
        # Between single spaces and ASCII letters a long text can be cut; in most scripts there is nothing of the kind.
        parts = [random.choice(words) + random.choice(SIGNS) for _ in range(count)]
        texts.append("".join(parts))
tokenizer = tokenizers.Tokenizer.from_file(sys.argv[1])
ids = [tokenizer.encode(text).ids for text in texts]
with open(sys.argv[2], "w", encoding="utf-8") as file:
    json.dump(
        {"tokenizers": tokenizers.__version__, "texts": texts, "ids": ids},
        file,
        ensure_ascii=False,
        separators=(",", ":"),
    )
    file.write("\n")
print(len(texts), sum(map(len, ids)), "ids")
