"""The errors that all parts share.

::

    DatarunError
    ├── CodecError              bytes on the wire that are not what they should be
    ├── FileNameError           a file name that could leave its folder
    ├── SettingError            an environment variable that can't be read
    └── WorkflowElementsError   a list of workflow elements that makes no workflow
"""


class DatarunError(Exception):
    """The root of every error that datarun raises itself."""


class CodecError(DatarunError, ValueError):
    """Bytes on the wire are not what they should be."""


class FileNameError(DatarunError, ValueError):
    """A file name could leave its folder or collide with another."""


class SettingError(DatarunError, ValueError):
    """An environment variable can't be read."""


class WorkflowElementsError(DatarunError, ValueError):
    """A list of workflow elements makes no workflow."""
