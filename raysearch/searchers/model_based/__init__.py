"""The default searcher: Gaussian processes over mixed, conditional spaces."""

from raysearch.searchers.model_based.searcher import ModelBased

__all__ = ["ModelBased"]
