from ...honest import HonestClassifier
from .. import NAME

__all__ = ["NAME", "HonestClassifier"]
