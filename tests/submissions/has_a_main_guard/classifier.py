from honest import HonestClassifier


class Classifier(HonestClassifier):
    pass


if __name__ == "__main__":
    raise SystemExit("run as a program")
