"""The multivariate tables of NannyML's documentation come out digit for digit."""

import warnings
from functools import cache

import pandas as pd
import pytest
from measures import published

from monitoring_assets.measures.domain_classifier import fit_domain_classifier, measure_domain_classifier
from monitoring_assets.measures.multivariate import State
from monitoring_assets.measures.reconstruction import fit_pca_reconstruction, measure_pca_reconstruction
from resources.policy import Features

pytestmark = pytest.mark.xdist_group("published")  # the data set and the fit are shared within one worker

CHUNK_ROWS = 5000
FEATURES = Features(numeric=published.NUMERIC_COLUMNS, categorical=published.CATEGORICAL_COLUMNS)


@cache
def car_loans() -> tuple[pd.DataFrame, pd.DataFrame]:
    with warnings.catch_warnings():  # the loader uses a deprecated reader of package data
        warnings.simplefilter("ignore")
        import nannyml

        reference, analysis, _ = nannyml.load_synthetic_car_loan_dataset()
    return reference, analysis


@cache
def pca() -> State:
    return fit_pca_reconstruction(car_loans()[0], FEATURES, 16)


def chunk(rows: pd.DataFrame, number: int) -> pd.DataFrame:
    return rows.iloc[number * CHUNK_ROWS : (number + 1) * CHUNK_ROWS]


def test_both_kinds_of_columns_are_those_of_the_published_tables():
    assert sorted(FEATURES.all) == sorted(published.MULTIVARIATE_COLUMNS)


@pytest.mark.parametrize("number", range(10))
def test_the_published_reconstruction_errors_come_out(number: int):
    reference, analysis = car_loans()
    assert round(measure_pca_reconstruction(pca(), chunk(reference, number), FEATURES).value, 6) == published.PCA_REFERENCE[number]
    assert round(measure_pca_reconstruction(pca(), chunk(analysis, number), FEATURES).value, 6) == published.PCA_ANALYSIS[number]


def test_the_published_sampling_error_of_reconstruction_comes_out():
    whole = measure_pca_reconstruction(pca(), car_loans()[0], FEATURES)
    assert round(whole.standard_error * (len(car_loans()[0]) / CHUNK_ROWS) ** 0.5, 6) == published.PCA_SAMPLING_ERROR


@pytest.mark.slow
@pytest.mark.parametrize("number", range(10))
@pytest.mark.parametrize("period", ["reference", "analysis"])
def test_the_published_domain_classifier_comes_out(period: str, number: int):
    reference, analysis = car_loans()
    own = chunk(reference if period == "reference" else analysis, number)
    others = reference.drop(index=own.index) if period == "reference" else reference
    state = fit_domain_classifier(others, FEATURES, 0, cap=len(reference))
    printed = published.DOMAIN_CLASSIFIER_REFERENCE if period == "reference" else published.DOMAIN_CLASSIFIER_ANALYSIS
    expected = published.DOMAIN_CLASSIFIER_MOVED.get((period, number), printed[number])
    assert round(measure_domain_classifier(state, own, FEATURES).value, 6) == expected
    assert expected == pytest.approx(printed[number], abs=0.001)


@pytest.mark.parametrize(("number", "is_drifted"), [(2, False), (6, True)])
def test_a_capped_domain_classifier_tells_the_same_chunks(number: int, is_drifted: bool):
    reference, analysis = car_loans()
    found = measure_domain_classifier(fit_domain_classifier(reference, FEATURES, 0), chunk(analysis, number), FEATURES)
    assert (found.value > 0.65) == is_drifted
    assert found.n_rows == 2000
