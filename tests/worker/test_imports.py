"""What each side imports: the trusted one stays light, the sandboxed one knows no network."""

import subprocess
import sys

import pytest


def list_modules(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sorted(sys.modules))"
    return set(subprocess.check_output([sys.executable, "-c", code], text=True).split())


def test_the_package_imports_nothing_until_the_worker_is_asked_for():
    modules = list_modules("import datarun_worker")

    assert not modules & {"rq", "redis", "requests", "numpy"}


def test_the_worker_imports_neither_pandas_nor_scikit_learn():
    modules = list_modules("from datarun_worker import Worker")

    assert "rq" in modules
    assert not modules & {"pandas", "scipy", "sklearn", "datarun_api", "flask", "sqlalchemy"}


def test_the_sandboxs_programs_know_neither_redis_nor_http():
    modules = list_modules("import datarun_worker.programs, datarun_worker.zygote")

    assert not modules & {"rq", "redis", "requests", "datarun_worker.api", "datarun_worker.config"}


@pytest.mark.parametrize("name", ["Workers", "worker_class"])
def test_another_name_is_none_of_the_packages(name):
    import datarun_worker

    with pytest.raises(AttributeError):
        getattr(datarun_worker, name)
