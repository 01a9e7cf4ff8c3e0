from honest import HonestClassifier


class Modèle(HonestClassifier):
    pass
