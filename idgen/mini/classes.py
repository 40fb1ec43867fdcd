"""The classes of subjects of the mini world."""

from collections.abc import Callable
from dataclasses import dataclass

from idgen.errors import UserError
from idgen.mini import creatures, things
from idgen.mini.pen import Pen, Point


@dataclass(frozen=True)
class SubjectClass:
    """A class of subjects.

    Attributes:
        noun: The word that prompts use for it.
        live: Whether it is a creature, which can wear accessories.
        paint: Draws it with a pen; creatures return the top of the head and the neck.
    """

    noun: str
    live: bool
    paint: Callable[[Pen], tuple[Point, Point] | None]


CLASSES: dict[str, SubjectClass] = {
    entry.noun: entry
    for entry in (
        SubjectClass("dog", True, creatures.paint_dog),
        SubjectClass("cat", True, creatures.paint_cat),
        SubjectClass("bird", True, creatures.paint_bird),
        SubjectClass("fish", True, creatures.paint_fish),
        SubjectClass("turtle", True, creatures.paint_turtle),
        SubjectClass("car", False, things.paint_car),
        SubjectClass("boat", False, things.paint_boat),
        SubjectClass("rocket", False, things.paint_rocket),
        SubjectClass("house", False, things.paint_house),
        SubjectClass("teapot", False, things.paint_teapot),
        SubjectClass("robot", False, things.paint_robot),
        SubjectClass("flower", False, things.paint_flower),
    )
}


def subject_class(noun: str) -> SubjectClass:
    """Return the class called ``noun``; a UserError lists those that exist if there is none."""
    if noun not in CLASSES:
        raise UserError(f"no class '{noun}' in the mini world; there are: {', '.join(CLASSES)}")
    return CLASSES[noun]
