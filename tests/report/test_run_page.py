from PIL import Image

from idgen.report.run_page import PromptDrawings, render_run_page
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
