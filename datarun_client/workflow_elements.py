"""Which workflow elements a data set asks of its submissions."""

import re

from datarun_client.errors import WorkflowElementsError
from datarun_client.states import WorkflowElement

PREDICTORS = (
    WorkflowElement.CLASSIFIER,
    WorkflowElement.REGRESSOR,
    WorkflowElement.ESTIMATOR,
)


KIT_FILE = "problem.py"
"""The file that makes a data set a RAMP kit; it names elements as its own workflow does."""

MAX_ELEMENT_NAME = 60

_ELEMENT_NAME = re.compile(r"\w[\w.]*")


def parse_workflow_elements(text: str) -> tuple[WorkflowElement, ...]:
    """Read a comma-separated list of workflow elements, in any sensible spelling.

    Parameters
    ----------
    text : str
        Such as ``"feature_extractor, classifier"``; case, spaces and hyphens don't matter.

    Returns
    -------
    tuple of WorkflowElement
        In the order in which a workflow uses them.

    Raises
    ------
    WorkflowElementsError
        If an element is unknown or named twice, or if the elements make no workflow: there is
        exactly one predictor, and a calibrator needs a classifier.
    """
    words = split_words(text)
    known = {element.value for element in WorkflowElement}
    unknown = [word for word in words if word not in known]
    if unknown:
        raise WorkflowElementsError(
            f"{unknown[0][:60]!r} is no workflow element; choose from {', '.join(WorkflowElement)}."
        )
    elements = tuple(element for element in WorkflowElement if element in words)
    if len(elements) < len(words):
        raise WorkflowElementsError("A workflow element is named twice; name each once.")
    predictors = [element for element in elements if element in PREDICTORS]
    if len(predictors) != 1:
        raise WorkflowElementsError(f"Name exactly one of {', '.join(PREDICTORS)}.")
    if WorkflowElement.CALIBRATOR in elements and predictors != [WorkflowElement.CLASSIFIER]:
        raise WorkflowElementsError("A calibrator needs a classifier before it.")
    return elements


def check_kit_elements(text: str) -> None:
    """Check the elements of a RAMP kit, whose workflow may name them as it likes.

    Parameters
    ----------
    text : str
        Such as ``"estimator, external_data.csv"``.

    Raises
    ------
    WorkflowElementsError
        If one is no name.
    """
    for word in split_words(text):
        if not _ELEMENT_NAME.fullmatch(word) or len(word) > MAX_ELEMENT_NAME:
            raise WorkflowElementsError(
                f"{word[:60]!r} is no name of a workflow element; use letters, digits, '_', '.'."
            )


def find_workflow_elements(text: str) -> tuple[WorkflowElement, ...]:
    """Find those of a data set's elements that datarun itself knows; a kit's may be others."""
    words = split_words(text)
    return tuple(element for element in WorkflowElement if element in words)


def split_words(text: str) -> list[str]:
    """Split a list of elements into words of one spelling."""
    return [re.sub(r"[\s_-]+", "_", word.strip().lower()) for word in text.split(",")]
