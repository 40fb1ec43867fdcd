from PIL import Image

from idgen.pages.run_page import PromptDrawings, render_run_page
from idgen.pages.scores import score_name
from tests.benchmark.made import metrics
from tests.benchmark.test_report import Page


def drawn(prompt: str, number: int) -> PromptDrawings:
    pictures = [Image.new("RGB", (8, 8), (20 * k, 0, 0)) for k in range(number)]
    return PromptDrawings(prompt, pictures, {"dino": 0.4, "clip_t": 0.3})


def test_it_shows_scores_photos_every_drawing_and_the_command() -> None:
    content = metrics(dino=0.512, masked_dino=None, leakage=0.25, new_score=0.75)
    photos = [Image.new("RGB", (300, 200))]
    drawings = [drawn("a dog in the snow", 6), drawn("a <i>dog</i>", 2)]
    page = Page(render_run_page(content, photos, drawings, "idgen test --ckpt_path x").decode())
    assert page.open == []
    assert len(page.sources) == 1 + 6 + 2
    assert all(source.startswith("data:image/") for source in page.sources)
    for words in ("0.512", "0.250", "new score", "a <i>dog</i>", "DINO 0.40", "--ckpt_path x"):
        assert words in page.words
    assert "untrained" in page.words.split("Scores")[0] or "after 4 steps" in page.words


def test_photos_that_are_not_there_leave_the_rest() -> None:
    page = Page(render_run_page(metrics(), [], [drawn("a dog", 1)], "idgen test").decode())
    assert "Nothing was scored" in page.words
    assert len(page.sources) == 1


def test_no_name_breaks_the_page() -> None:
    content = {
        **metrics(dino=0.5),
        "subject": 'my "dog" <1>',
        "method": "A & B",
        "backbone": "\x07",
    }
    page = Page(render_run_page(content, [], [drawn('say "<hi>" & go', 1)], "a\nb").decode())
    assert page.open == []
    for words in ('Test of my "dog" <1>', "A & B", 'say "<hi>" & go', "\ufffd", "a\ufffdb"):
        assert words in page.words
    assert "hi" not in page.tags


def test_the_protocol_is_listed_by_its_keys() -> None:
    words = Page(render_run_page(metrics(), [], [], "idgen test").decode()).words.split("\n")
    for name, value in (
        ("sampler: steps", "2"),
        ("drawing seed", "0"),
        ("sampler: name", "Sampler"),
    ):
        assert words[words.index(name) + 1] == value
    assert words[words.index("checkpoint") + 1] == "none: the untrained model"


def test_the_photos_scores_stand_beside_the_drawings() -> None:
    content = metrics(dino=0.512, clip_t=0.25, masked_dino=0.4)
    content["photos"] = {"dino": 0.934, "masked_dino": None}
    words = Page(render_run_page(content, [], [drawn("a dog", 1)], "idgen test").decode()).words
    cells = [word for word in words.split("\n") if word]
    assert "photos, each against the others" in cells
    at = {label: cells.index(label) for label in ("DINO ↑", "masked DINO ↑", "CLIP-T ↑")}
    assert cells[at["DINO ↑"] + 1 : at["DINO ↑"] + 3] == ["0.512", "0.934"]
    assert cells[at["masked DINO ↑"] + 1 : at["masked DINO ↑"] + 3] == ["0.400", "–"]
    assert cells[at["CLIP-T ↑"] + 1 : at["CLIP-T ↑"] + 3] == ["0.250", score_name("clip_t").meaning]
    earlier = Page(render_run_page(metrics(dino=0.5), [], [], "idgen test").decode()).words
    assert "photos, each" not in earlier
