import concurrent.futures
import multiprocessing

from honest import HonestClassifier


def square(number):
    return number * number


class Classifier(HonestClassifier):
    def fit(self, X, y):
        for method in ("fork", "spawn"):
            with multiprocessing.get_context(method).Pool(2) as pool:
                print("SQUARED", method, sum(pool.map(square, range(8))))
        with concurrent.futures.ProcessPoolExecutor(2) as pool:
            print("SQUARED executor", sum(pool.map(square, range(8))))
        queue = multiprocessing.Queue()
        process = multiprocessing.Process(target=queue.put, args=("sent",))
        process.start()
        print("GOT", queue.get(timeout=5))
        process.join()
        super().fit(X, y)
