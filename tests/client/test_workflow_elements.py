import pytest

from datarun_client.errors import WorkflowElementsError
from datarun_client.states import WorkflowElement
from datarun_client.workflow_elements import find_workflow_elements, parse_workflow_elements

EXTRACTOR, CLASSIFIER, CALIBRATOR, REGRESSOR, ESTIMATOR = WorkflowElement


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        ("classifier", (CLASSIFIER,)),
        ("feature_extractor, classifier", (EXTRACTOR, CLASSIFIER)),
        ("feature_extractor,classifier,calibrator", (EXTRACTOR, CLASSIFIER, CALIBRATOR)),
        (" Regressor ,  Feature-Extractor ", (EXTRACTOR, REGRESSOR)),
        ("feature extractor, regressor", (EXTRACTOR, REGRESSOR)),
        ("estimator", (ESTIMATOR,)),
    ],
)
def test_a_list_of_elements_is_read_in_any_sensible_spelling(text, elements):
    assert parse_workflow_elements(text) == elements


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no workflow element"),
        ("clasifier", "'clasifier' is no workflow element"),
        ("classifier,", "no workflow element"),
        ("classifier, classifier", "twice"),
        ("classifier, regressor", "exactly one"),
        ("feature_extractor", "exactly one"),
        ("calibrator, regressor", "needs a classifier"),
    ],
)
def test_a_list_that_makes_no_workflow_is_refused(text, message):
    with pytest.raises(WorkflowElementsError, match=message):
        parse_workflow_elements(text)


def test_of_a_kits_elements_those_are_found_that_datarun_knows():
    text = "Feature-Extractor, classifier, external_data.csv"

    assert find_workflow_elements(text) == (EXTRACTOR, CLASSIFIER)
