import numpy as np

from idgen.mini.lineup import IDENTITIES, PICTURES, lineup_pictures, lineup_seeds
from idgen.mini.subjects import DEMO_SUBJECTS, sample_subject
from idgen.mini.world import HELD_OUT_FROM


def test_the_subject_is_first_among_others_of_the_held_out_side() -> None:
    subject = DEMO_SUBJECTS["robot"]
    seeds = lineup_seeds(subject)
    assert len(seeds) == len(set(seeds)) == IDENTITIES == 200
    assert seeds[0] == subject.identity_seed
    assert min(seeds) >= HELD_OUT_FROM
    assert seeds == lineup_seeds(subject)
    assert seeds[1:] != lineup_seeds(sample_subject(3, "robot"))[1:]


def test_pictures_show_one_identity_in_various_poses_and_none_is_a_photo() -> None:
    subject = DEMO_SUBJECTS["robot"]
    pictures = lineup_pictures(subject.noun, subject.identity_seed)
    assert len(pictures) == PICTURES
    assert len({p.factors.identity for p in pictures}) == 1
    assert len({p.factors.pose for p in pictures}) == PICTURES
    assert {p.factors.pose.flip for p in pictures} == {True, False}
    assert {p.factors.pose for p in pictures}.isdisjoint(
        {photo.factors.pose for photo in subject.photos()}
    )
    again = lineup_pictures(subject.noun, subject.identity_seed)
    assert all(np.array_equal(a.picture, b.picture) for a, b in zip(pictures, again, strict=True))
