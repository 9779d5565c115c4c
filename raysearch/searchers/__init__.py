"""Pure ask/tell methods, one a file, and the adapter that makes any of them Tune's."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from raysearch.basics.failures import UserError
from raysearch.methods import Choice, Method, check_choice, make
from raysearch.objectives import Goals
from raysearch.searchers.base import Config, Identity, Searcher
from raysearch.searchers.encoding import Parameter

_EVOLUTIONARY = "raysearch.searchers.pymoo.evolutionary:Evolutionary"
_OPTUNA = "raysearch.searchers.libraries.optuna_search:OptunaSampler"

SEARCHERS = {
    "model_based": Method(
        "raysearch.searchers.model_based:ModelBased",
        "Gaussian processes and hypervolume improvement",
    ),
    "nsga2": Method("raysearch.searchers.nsga2:NSGA2", "NSGA-II, steady state"),
    "random": Method("raysearch.searchers.random:RandomSearch", "random draws without repetition"),
    "nsga3": Method(_EVOLUTIONARY, "NSGA-III", {"algorithm": "nsga3"}),
    "ctaea": Method(_EVOLUTIONARY, "C-TAEA, for hard constraints", {"algorithm": "ctaea"}),
    "moead": Method(_EVOLUTIONARY, "MOEA/D", {"algorithm": "moead"}),
    "smsemoa": Method(_EVOLUTIONARY, "SMS-EMOA", {"algorithm": "smsemoa"}),
    "agemoea": Method(_EVOLUTIONARY, "AGE-MOEA; extra `agemoea`", {"algorithm": "agemoea"}),
    "surrogate_assisted": Method(
        "raysearch.searchers.surrogate.surrogate_assisted:SurrogateAssisted",
        "C-TAEA on regressors chosen anew; extra `surrogates`",
    ),
    "cma_es": Method("raysearch.searchers.libraries.cma_es:CMAES", "CMA-ES, continuous spaces; extra `cma`"),
    "qlognehvi": Method(
        "raysearch.searchers.libraries.qlognehvi:QLogNEHVI", "BoTorch's qLogNEHVI; extra `botorch`"
    ),
    "optuna_tpe": Method(_OPTUNA, "Optuna's TPE; extra `optuna`", {"sampler": "tpe"}),
    "optuna_nsga2": Method(_OPTUNA, "Optuna's NSGA-II; extra `optuna`", {"sampler": "nsga2"}),
}


def make_searcher(
    choice: Choice,
    parameters: Sequence[Parameter],
    goals: Goals,
    *,
    seed: int,
    initial: Sequence[Config],
    identity: Identity,
) -> Searcher:
    """The searcher of this name, with its options, fresh.

    Raises:
        ValueError: the name or an option is unknown, an option's value is wrong, or it takes no given config.
        ImportError: it needs a package that is not installed.
    """
    checked = check_choice("searcher", choice, SEARCHERS)
    searcher: Searcher = make(
        checked,
        SEARCHERS,
        parameters=parameters,
        goals=goals,
        seed=seed,
        initial=initial,
        identity=identity,
    )
    if "given" not in inspect.signature(searcher.ask).parameters:
        raise UserError(
            f"searcher {checked['name']} could not resume a run, for its ask takes no given config: write "
            f"def ask(self, trial, given=None)"
        )
    return searcher
