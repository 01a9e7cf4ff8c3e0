"""Which API the command line talks to, and as whom.

The environment comes first; then the file that ``datarun login`` wrote, which only its owner may
read. What the file holds is never sent to another address than the one it was stored with.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click

from datarun_client.errors import AccountError
from datarun_client.settings import Setting, read_settings
from datarun_client.transport import Auth

SETTINGS = (
    Setting("DATARUN_URL", None, str, "The API's address, such as http://127.0.0.1:8000/."),
    Setting("DATARUN_TOKEN", None, str, "A token of the account."),
    Setting("DATARUN_USERNAME", None, str, "The account's name, if there is no token."),
    Setting("DATARUN_PASSWORD", None, str, "Its password."),
)

LOGIN_ADVICE = "run `datarun login URL`, or set DATARUN_URL and DATARUN_TOKEN"


@dataclass(frozen=True)
class Account:
    """An account of an API.

    Attributes
    ----------
    url : str
    username, password, token : str
        Name and password, or a token; empty if it isn't there.
    """

    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    @property
    def auth(self) -> Auth:
        """What `Client` takes."""
        return self.token or (self.username, self.password)


def find_account_file() -> Path:
    """Say where the account is stored: in the user's configuration folder."""
    return Path(click.get_app_dir("datarun")) / "account.json"


def find_account(environ: Mapping[str, str] = os.environ) -> Account:
    """Find the account that the command line uses.

    Parameters
    ----------
    environ : mapping of str to str

    Raises
    ------
    AccountError
        If there is none, or its file can't be used; says what to do.
    """
    values = read_settings(SETTINGS, environ)
    stored = load_account()
    url = values["url"] or (stored.url if stored else None)
    if url is None:
        raise AccountError(f"Nobody is logged in; {LOGIN_ADVICE}.")
    if values["token"]:
        return Account(url, token=values["token"])
    if values["username"] and values["password"] is not None:
        return Account(url, values["username"], values["password"])
    if stored is None or not is_same_address(stored.url, url):
        raise AccountError(f"There is no account for {url}; {LOGIN_ADVICE}.")
    return stored


def is_same_address(one: str, other: str) -> bool:
    """Tell whether two addresses are the same API's."""
    return one.rstrip("/") == other.rstrip("/")


def load_account() -> Account | None:
    """Read the stored account; None if there is none.

    Raises
    ------
    AccountError
        If others may read the file, or it isn't what `store_account` wrote.
    """
    path = find_account_file()
    try:
        with path.open() as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise AccountError(f"Others may read {path}; run `chmod 600 {path}`.")
            return Account(**json.load(file))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise AccountError(f"{path} can't be read ({error}); run `datarun login` again.") from None


def store_account(account: Account) -> Path:
    """Store the account in a file that only its owner may read; says where.

    Raises
    ------
    AccountError
        If it can't be written.
    """
    path = find_account_file()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # mkstemp's files are their owner's alone from the beginning.
        descriptor, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(account), file)
        Path(name).replace(path)
    except OSError as error:
        raise AccountError(f"{path} can't be written: {error.strerror}.") from None
    return path


def forget_account() -> bool:
    """Remove the stored account; tells whether there was one."""
    try:
        find_account_file().unlink()
    except FileNotFoundError:
        return False
    return True
