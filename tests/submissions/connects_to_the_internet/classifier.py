import socket

from attempts import attempt
from honest import HonestClassifier

# Addresses that documentation may use, so that nobody is there.
NOBODY = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}


def connect(family, address):
    with socket.socket(family) as client:
        client.settimeout(0.3)
        client.connect((address, 80))


class Classifier(HonestClassifier):
    def fit(self, X, y):
        for family, address in NOBODY.items():
            attempt(f"a socket of {family.name}", lambda f=family: socket.socket(f).close())
            attempt(f"an address of {family.name}", connect, family, address)
        super().fit(X, y)
