"""What is tried next: a grid, or Optuna's samplers, asked and told."""

import warnings
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Protocol

from idgen.errors import UserError
from idgen.sweep.config import SweepConfig
from idgen.sweep.space import Parameter, grid

_BY_CHANCE = 4
"""Trials before TPE learns; no share of all, so that more trials leave the first as they are."""
_POPULATION = 8
"""Of a generation of NSGA-II, for the same reason."""


class Search(Protocol):
    """Asked for values and told what came of them, always in the order of the trials.

    It is a function of its seed and of what it was told. So a sweep that goes on asks it all anew,
    tells it what finished trials gave, and gets the same trials again; nothing of it is stored.
    """

    def ask(self) -> dict[str, Any]:
        """The next trial's values by key."""
        ...

    def report(self, number: int, value: float, at: int) -> bool:
        """Notes a trial's mean after some subjects or at a rung.

        Returns:
            Whether it is under the median of the trials before, after as many.
        """
        ...

    def tell(self, number: int, values: Sequence[float] | None, stopped: bool = False) -> None:
        """Notes what the objectives of a trial came to; None where it failed or was stopped."""
        ...

    def importances(self) -> Mapping[str, float]:
        """How much each parameter matters to the one objective; empty where that is not known."""
        ...


def make_search(config: SweepConfig) -> Search:
    """The search that a config asks for."""
    if config.sampler == "grid" and not config.early_stop:
        return GridSearch(config.space)
    return OptunaSearch(config)


class GridSearch:
    """All combinations in their order."""

    def __init__(self, space: dict[str, Parameter]) -> None:
        """Lists them."""
        self._points = iter(grid(space))

    def ask(self) -> dict[str, Any]:
        """The next point."""
        return next(self._points)

    def report(self, number: int, value: float, at: int) -> bool:
        """Never stops one."""
        return False

    def tell(self, number: int, values: Sequence[float] | None, stopped: bool = False) -> None:
        """Needs nothing."""

    def importances(self) -> Mapping[str, float]:
        """Not known."""
        return {}


class OptunaSearch:
    """Optuna's samplers (Akiba et al. 2019), seeded; Vizier's median rule (Golovin et al. 2017)."""

    def __init__(self, config: SweepConfig) -> None:
        """Makes the study.

        Raises:
            UserError: If Optuna is not installed.
        """
        try:
            import optuna
        except ImportError as error:
            raise UserError(
                f"sampler: {config.sampler!r} is Optuna's, which is not installed: pip install "
                "'idgen[sweep]', or take the sampler grid"
            ) from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        samplers = optuna.samplers
        self._grid = grid(config.space) if config.sampler == "grid" else None
        made = {
            "grid": samplers.RandomSampler,
            "random": samplers.RandomSampler,
            "tpe": samplers.TPESampler,
            "nsga2": samplers.NSGAIISampler,
        }[config.sampler]
        more: dict[str, Any] = {}
        if config.sampler == "tpe":
            # Trials of one batch must not all be the same guess.
            more = {"constant_liar": True, "n_startup_trials": max(_BY_CHANCE, config.together)}
        if config.sampler == "nsga2":
            more = {"population_size": max(_POPULATION, config.together)}
        directions = [f"{way}imize" for way in config.objectives.values()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study = optuna.create_study(
                directions=directions,
                sampler=made(seed=config.seed, **more),
            )
        self._space = {key: _distribution(one) for key, one in config.space.items()}
        self._choices = {key: one.choices for key, one in config.space.items() if not one.is_range}
        self._trials: list[Any] = []
        self._sign = 1.0 if next(iter(config.objectives.values())) == "max" else -1.0
        self._enough = config.together
        self._reported: dict[int, dict[int, float]] = {}

    def ask(self) -> dict[str, Any]:
        """What the sampler says."""
        if self._grid is not None:
            point = self._grid[len(self._trials)]
            fixed = {
                key: self._choices[key].index(value) if key in self._choices else value
                for key, value in point.items()
            }
            self._study.enqueue_trial(fixed)
        trial = self._study.ask(self._space)
        self._trials.append(trial)
        # Optuna takes no lists as choices: their places stand for them.
        return {
            key: self._choices[key][value] if key in self._choices else value
            for key, value in trial.params.items()
        }

    def report(self, number: int, value: float, at: int) -> bool:
        """By the median of what the trials before had there."""
        self._trials[number].report(value, at)
        before = self._reported.setdefault(at, {})
        others = [self._sign * other for earlier, other in before.items() if earlier < number]
        before[number] = value
        return len(others) >= self._enough and self._sign * value < median(others)

    def tell(self, number: int, values: Sequence[float] | None, stopped: bool = False) -> None:
        """Hands it on."""
        if values is None:
            from optuna.trial import TrialState

            state = TrialState.PRUNED if stopped else TrialState.FAIL
            self._study.tell(self._trials[number], state=state)
        else:
            self._study.tell(self._trials[number], list(values))

    def importances(self) -> Mapping[str, float]:
        """PED-ANOVA (Watanabe et al. 2023), for one objective and some finished trials."""
        from optuna import importance

        finished = [t for t in self._study.get_trials() if t.values is not None]
        if len(self._study.directions) > 1 or len(finished) < 4 or len(self._space) < 2:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            evaluator = importance.PedAnovaImportanceEvaluator()
            try:
                found = importance.get_param_importances(self._study, evaluator=evaluator)
            except (ValueError, RuntimeError):  # all values alike
                return {}
        return {key: float(value) for key, value in found.items()}


def _distribution(parameter: Parameter) -> Any:
    from optuna import distributions

    if not parameter.is_range:
        return distributions.CategoricalDistribution(range(len(parameter.choices)))
    low, high = parameter.low, parameter.high
    assert low is not None
    assert high is not None
    if parameter.is_whole:
        step = 1 if parameter.step is None else int(parameter.step)
        return distributions.IntDistribution(int(low), int(high), parameter.log, step)
    return distributions.FloatDistribution(float(low), float(high), parameter.log, parameter.step)
