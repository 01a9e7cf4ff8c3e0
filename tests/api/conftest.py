"""What tests of the API may ask for besides."""

import pytest

from datarun_api.reconciler import Reconciler


@pytest.fixture
def reconciler(context, monkeypatch):
    """A reconciler that looks at everything at once, and whose first round is done."""
    monkeypatch.setitem(context.config, "RECONCILE", 0)
    reconciler = Reconciler()
    reconciler._was_outage = False
    yield reconciler
    reconciler.close()
