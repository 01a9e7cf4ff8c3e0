import multiprocessing
import os
from multiprocessing import resource_tracker, shared_memory

from attempts import CANARIES, tell
from honest import HonestClassifier


class Classifier(HonestClassifier):
    def fit(self, X, y):
        name = CANARIES["name"]
        try:
            memory = shared_memory.SharedMemory(name, create=True, size=4096)
        except FileExistsError as error:
            tell(False, "what the fold before left", error)
        else:
            # As a program that is killed would: nobody cleans up.
            resource_tracker.unregister(memory._name, "shared_memory")
            memory.buf[:4] = b"left"
        self.semaphore = multiprocessing.Semaphore(2)
        left = [entry for entry in os.listdir("/dev/shm") if entry != name]
        tell(not left, "others' shared memory", left)
        print("LEFT shared memory and a semaphore")
        super().fit(X, y)
