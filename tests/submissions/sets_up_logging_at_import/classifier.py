import logging
import logging.handlers

from honest import HonestClassifier

logging.basicConfig(
    level=logging.DEBUG,
    handlers=[logging.StreamHandler(), logging.handlers.RotatingFileHandler("train.log")],
    format="%(levelname)s %(message)s",
)
logger = logging.getLogger(__name__)


class Classifier(HonestClassifier):
    def fit(self, X, y):
        logger.info("LOGGED %d rows", len(X))
        logging.shutdown()
        super().fit(X, y)
