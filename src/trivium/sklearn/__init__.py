"""Trivium in scikit-learn: a classifier and a regressor of texts, and texts as vectors.

    from sklearn.pipeline import make_pipeline
    from trivium.sklearn import TriviumClassifier, TriviumVectorizer

They are cloned, searched, cross-validated and pickled as any estimator is.
"""

try:
    import sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        'trivium.sklearn needs scikit-learn: pip install "trivium[sklearn]"'
    ) from error

from trivium.sklearn.estimators import TriviumClassifier, TriviumRegressor
from trivium.sklearn.vectorizer import TriviumVectorizer

__all__ = ["TriviumClassifier", "TriviumRegressor", "TriviumVectorizer"]
