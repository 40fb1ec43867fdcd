"""The key of the command line in front of errors that name a parameter."""

from typing import Any

import pytest
from jsonargparse import Namespace, dict_to_namespace

from idgen.data.class_images import ClassImages
from idgen.errors import UserError
from idgen.models.tuning import LoraTuning
from idgen.runs.building import Part, mark
from idgen.runs.keys import with_key
from idgen.sampling import Sampler


def part(path: str, **arguments: Any) -> dict[str, Any]:
    return {"class_path": path, "init_args": arguments}


CONFIG: Namespace = dict_to_namespace(
    {
        "model": {
            "tuning": part("idgen.models.tuning.LoraTuning", rank=4, alpha=None),
            "optimizer": part("torch.optim.AdamW", lr=1e-4),
            "sampler": part("idgen.sampling.Sampler", steps=30),
            "token": "sks",
        },
        "data": {
            "subject": {"photos": "photos", "token": "sks"},
            "preparation": part("idgen.prepare.Preparation", views=-1, flip=True),
            "prior": {"count": 0, "sampler": part("idgen.sampling.Sampler", steps=0)},
            "batch_size": 0,
        },
        "checkpoint": {"monitor": "loss", "keep": 1},
        "fidelity": {"dino": part("idgen.metrics.encoders.DinoScorer", model="/no")},
    }
)


@pytest.mark.parametrize(
    ("said", "keyed"),
    [
        ("preparation.views: -1", "--data.preparation.init_args.views: -1"),
        ("subject.token 'x' is part", "--data.subject.token 'x' is part"),
        ("data.batch_size must be", "--data.batch_size must be"),
        ("LoraTuning.rank: too large", "--model.tuning.init_args.rank: too large"),
        ("DinoScorer.model: none", "--fidelity.dino.init_args.model: none"),
        ("LoraTuning: is empty", "--model.tuning: is empty"),
        ("optimizer: ValueError: bad", "--model.optimizer: ValueError: bad"),
        ("checkpoint.monitor: no score", "--checkpoint.monitor: no score"),
    ],
)
def test_a_parameter_gets_its_key(said: str, keyed: str) -> None:
    assert str(with_key(UserError(said), CONFIG)) == keyed


@pytest.mark.parametrize(
    "said",
    [
        "--data.batch_size must be",  # once
        "checkpoint of another method",  # no parameter: a word
        "photos.png: no whole image",
        "Sampler.steps: 5000 are too many",  # of two samplers
        "token: is nobody's",  # of two tokens
        "views.of.others: wrong",
        "cannot write to photos; change preparation.views",
    ],
)
def test_what_names_no_one_key_stays_as_it_is(said: str) -> None:
    error = UserError(said)
    assert with_key(error, CONFIG) is error
    assert with_key(error, None) is error


@pytest.mark.parametrize(
    ("kind", "values", "said", "keyed"),
    [
        (LoraTuning, {"rank": 4}, "rank must be", "--model.tuning.init_args.rank must be"),
        (LoraTuning, {"rank": 4}, "cannot be", "--model.tuning: cannot be"),
        (LoraTuning, {"rank": 4}, "LoraTuning: rank is", "--model.tuning.init_args.rank is"),
        # Two of a class are told apart by what they were given.
        (Sampler, {"steps": 0}, "steps must be", "--data.prior.sampler.init_args.steps must be"),
        (Sampler, {"steps": 30}, "steps must be", "--model.sampler.init_args.steps must be"),
        # One that the config names no class of.
        (ClassImages, {"count": 0, "sampler": None}, "count must", "--data.prior.count must"),
        (
            LoraTuning,
            {"rank": 4},
            "preparation.views: -1",
            "--data.preparation.init_args.views: -1",
        ),
    ],
)
def test_a_part_that_was_being_built_is_known(
    kind: type, values: dict[str, Any], said: str, keyed: str
) -> None:
    error = UserError(said)
    mark(error, Part(kind, values))
    assert str(with_key(error, CONFIG)) == keyed


def test_a_part_that_the_config_does_not_name_stays_as_it_is() -> None:
    error = UserError("rank must be 1 or more")
    mark(error, Part(LoraTuning, {"rank": 99}))
    assert with_key(error, CONFIG) is error
