"""Which of an account's folds are listed."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, select

from datarun_api.models import Submission, SubmissionFold


def make_conditions(owner_id: int, filters: Mapping[str, Any]) -> list[ColumnElement[bool]]:
    """Say in SQL which folds an account lists.

    Parameters
    ----------
    owner_id : int
    filters : mapping
        As `FoldFilterSchema` loads it.
    """
    conditions = [SubmissionFold.owner_id == owner_id]
    if "state" in filters:
        conditions.append(SubmissionFold.state.in_(filters["state"]))
    if "priority" in filters:
        conditions.append(SubmissionFold.priority.in_(filters["priority"]))
    if "submission" in filters:
        conditions.append(SubmissionFold.databoard_s == filters["submission"])
    if "raw_data" in filters:
        submissions = select(Submission.databoard_s_id).where(
            Submission.owner_id == owner_id, Submission.raw_data_id == filters["raw_data"]
        )
        conditions.append(SubmissionFold.databoard_s.in_(submissions))
    if "since" in filters:
        conditions.append(SubmissionFold.changed_at >= filters["since"])
    return conditions
