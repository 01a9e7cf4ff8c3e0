"""The processes that serve task queues.

Nothing that they import by themselves may bring scikit-learn: a cold worker is one without it.
"""
