"""Benchmark questions are found in text, with the item and the words as evidence; look-alikes are not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from groupwise.corpus.benchmarks import read_benchmarks
from groupwise.corpus.decontamination import Index, NGrams
from groupwise.corpus.rows import check_rows
from groupwise.errors import UserError

QUESTIONS = [
    "Tom has 12 red marbles and gives 5 of them to his 3 sisters. How many are left?",
    "妈妈买了3盒茶叶，一盒茶叶有6小包，一共买了多少小包茶叶？",
    "What is 7 times 6?",
    "2+2?",
]
SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def index(tmp_path: Path) -> Index:
    file = tmp_path / "mine.jsonl"
    rows = [{"question": text, "answer": "He counts them all one by one and then says it aloud."} for text in QUESTIONS]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return NGrams((str(file),)).index()


@pytest.mark.parametrize(
    ("text", "item", "rule"),
    [
        (f"Problem 3. {QUESTIONS[0]} (5 points)", 0, "grams"),
        ("so Tom HAS 12 red marbles, and gives 5 of them to", 0, "grams"),
        (
            "Tom has 13 red marbles and gives 8 of them to his 4 sisters. How many are left?",
            0,
            "numbers changed",
        ),
        ("题：妈妈买了３盒茶叶，一盒茶叶有 6 小包", 1, "grams"),
        ("Quickly: what is 7 times 6? Forty-two.", 2, "whole item"),
        ("Tom has $12$ red marbles and gives \\(\\mathbf{5}\\) of them to his 3 sisters.", 0, "grams"),
    ],
)
def test_a_question_is_found_with_its_rule(index: Index, text: str, item: int, rule: str) -> None:
    (hit,) = index.hits(text)
    assert (hit.item.benchmark, hit.item.number, hit.rule) == ("mine", item, rule)


def test_the_evidence_is_the_longest_stretch(index: Index) -> None:
    (hit,) = index.hits("ha! tom has 12 red marbles and gives 5 of them to his cat")
    assert hit.text == "tom has 12 red marbles and gives 5 of them to his"
    assert hit.grams == 3


@pytest.mark.parametrize(
    "text",
    [
        "Tom has 12 red marbles and gives 5 to Ann.",
        "Tom has 12 blue cars and sells 5 of them to a friend of his. How many cars are left for him to drive?",
        "What is 7 times 8?",
        "2+2?",  # too short to be looked for
        "He counts them all one by one and then says it aloud.",  # a solution
        "",
    ],
)
def test_what_is_no_question_is_left_alone(index: Index, text: str) -> None:
    assert index.hits(text) == []
    assert index.too_short == 1


def test_a_way_of_asking_is_no_question_however_many_letters_it_has(tmp_path: Path) -> None:
    asked = "what is its perimeter in centimeters? Express your answer as a common fraction in terms of its height."
    begun = [
        "A square has a diagonal of seven and somebody paints half of the border green while the rest stays red;",
        "Rhombuses are stacked beside an old brick wall until eleven layers are reached by the gardener and her son;",
    ]
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps({"question": f"{each} {asked}"}) + "\n" for each in begun), encoding="utf-8")
    index = NGrams((str(file),)).index()
    assert index.hits(f"Somebody cuts a cone from a sheet of paper; {asked}") == []
    (hit,) = index.hits("".join(f"{begun[0]} {asked}".split()))
    assert (hit.item.number, hit.rule) == (0, "letters")


def test_solutions_convict_where_that_is_asked(index: Index) -> None:
    asked = Index(NGrams(solutions=True), index.items)
    assert asked.hits("He counts them all one by one and then says it aloud.")[0].rule == "grams"


def test_rows_are_searched_however_deep(index: Index) -> None:
    rows = [
        ("a:1", {"messages": [{"role": "user", "content": QUESTIONS[0]}], "other": QUESTIONS[0][:60]}),
        ("a:2", {"prompt": "clean", "chosen": [{"content": QUESTIONS[2]}]}),
        ("a:3", {"text": "clean", "number": 3}),
    ]
    found = check_rows(rows, index)
    assert [(each.row, each.column, each.hit.item.number) for each in found] == [
        ("a:1", "messages", 0),
        ("a:2", "chosen", 2),
    ]


def test_benchmarks_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "gsm8k"
    folder.mkdir()
    (folder / "test.jsonl").write_text('{"question": "How many?"}\n', encoding="utf-8")
    (item,) = read_benchmarks(["gsm8k"], tmp_path)
    assert (item.benchmark, item.number, item.where) == ("gsm8k", 0, "test.jsonl:1")
    assert read_benchmarks([str(folder / "test.jsonl")])[0].benchmark == "gsm8k"
    assert read_benchmarks([f"other={folder / 'test.jsonl'}"])[0].benchmark == "other"
    with pytest.raises(UserError, match="perhaps you meant gsm8k"):
        read_benchmarks(["gsm8kk"], tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        read_benchmarks(["gsm8k"], tmp_path / "nowhere")


@pytest.mark.skipif(not (SHARED / "gsm8k" / "test.jsonl").is_file(), reason="no real benchmarks here")
def test_real_training_questions_are_clean_but_for_real_overlaps() -> None:
    lines = (SHARED / "gsm8k" / "train.jsonl").read_text(encoding="utf-8").splitlines()[:600]
    index = NGrams(("gsm8k",), benchmarks=str(SHARED)).index()
    found = [number for number, line in enumerate(lines) if index.hits(json.loads(line)["question"])]
    assert found == [20, 120, 406]


LONG = (
    "A baker in the old town makes 24 loaves of dark bread each morning and sells two thirds of them before noon. In "
    "the afternoon Maria comes by and buys 3 loaves for the school kitchen. How many loaves of dark bread does the "
    "baker still have when he closes the shop in the evening?"
)


@pytest.mark.parametrize(
    "text",
    [
        LONG.replace("Maria", "Old Mr. Smith").replace("baker", "farmer").replace("24", "36").replace("3 ", "twelve "),
        LONG.replace("dark bread", "rye").replace("In the afternoon", "Later"),
        " ".join(reversed([f"{part}." for part in LONG.split(". ")])),
        LONG.replace("each ", "[7] each ").replace("noon", "noon [8]").replace("kitchen", "kitchen [9]"),
    ],
)
def test_a_question_in_other_words_is_found(tmp_path: Path, text: str) -> None:
    index = index_of(tmp_path, [LONG])
    assert index.hits(text)
    assert [hit.rule for hit in index_of(tmp_path, [LONG]).hits("x y. " * 50 + text + " z." * 50)]
    loose = Index(NGrams(size=40, changed=0, letters=0), index.items)
    (hit,) = loose.hits("x y. " * 50 + text + " z." * 50)
    assert hit.rule == "reworded"
    assert not Index(NGrams(size=40, changed=0, reworded=0, letters=0), index.items).hits(text)


def test_a_question_whose_words_are_scattered_is_none(tmp_path: Path) -> None:
    scattered = (" and much more of what is not in there " * 9).join(LONG.split(" of dark bread "))
    pieces = LONG.split()
    apart = " ".join(f"{' '.join(pieces[start : start + 5])} {'z ' * 30}" for start in range(0, len(pieces), 5))
    index = Index(NGrams(size=40, changed=0, letters=0), index_of(tmp_path, [LONG]).items)
    assert index.hits(apart) == []
    assert index.hits(scattered)[:1] == []


def index_of(tmp_path: Path, questions: list[str]) -> Index:
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps({"question": text}) + "\n" for text in questions), encoding="utf-8")
    return NGrams((str(file),)).index()


def test_a_template_convicts_nothing(tmp_path: Path) -> None:
    template = "Answer the following question of a pupil and put your final answer within a box at the end. "
    questions = ["How old is Ann?", "Which of the two trains that left this morning was the faster one on its way?"]
    index = index_of(tmp_path, [template + text for text in (*questions, "Why so?", "Who was it?", "Is it so?")])
    assert index.hits(template + "What is the color of the sky over the town at noon?") == []
    assert [hit.item.number for hit in index.hits(questions[1])] == [1]
    found = index.hits(f"He wrote: {template + questions[0]} I did.")
    assert [(hit.item.number, hit.rule) for hit in found] == [(0, "whole item")]


def test_a_way_of_asking_convicts_where_half_of_the_question_is_there(tmp_path: Path) -> None:
    asked = "which is why he asks us how many of them are still there"
    garden = "the garden of his old aunt Rose since the spring of last year"
    pots = "pots of red clay to whoever comes along the road and likes them"
    questions = [f"Tom keeps bees in {garden}, {asked}?", f"Ann sells {pots}, {asked}?"]
    index = index_of(tmp_path, questions)
    assert index.hits(f"It rained for days, {asked}.") == []
    assert [hit.item.number for hit in index.hits(f"{garden}, {asked}")] == [0]
    assert [hit.item.number for hit in index_of(tmp_path, [f"Oh, {asked}", f"So, {asked}"]).hits(asked)] == [0, 1]


def test_a_question_that_is_there_often_is_no_template(tmp_path: Path) -> None:
    (hit,) = index_of(tmp_path, [QUESTIONS[0]] * 9).hits(QUESTIONS[0])[:1]
    assert hit.rule == "grams"


def test_an_item_of_signs_is_found_with_its_signs(tmp_path: Path) -> None:
    index = index_of(tmp_path, ["1/2 + 1/3 = ?", "Solve 2x + 3 = 7.", "求x的值"])
    assert [hit.item.number for hit in index.hits("Now: $1/2+1/3 =$ ?")] == [0]
    assert [hit.item.number for hit in index.hits("Solve $2x + 3 = 7$.")] == [1]
    assert [hit.item.number for hit in index.hits("请求 x 的值")] == [2]
    assert index.hits("| 1 | 2 | 1 | 3 |") == []
    assert index.hits("11/2 + 1/3 = ?") == []
    assert index.hits("solve: 2, x, 3, 7") == []


def test_a_question_in_two_columns_is_found(index: Index) -> None:
    row = {"body": QUESTIONS[0][:40], "question": QUESTIONS[0][40:], "answer": "4"}
    (hit,) = check_rows([("a:1", row)], index)
    assert (hit.column, hit.hit.item.number) == ("body + question + answer", 0)
