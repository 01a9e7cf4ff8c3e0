import logging
import subprocess
import sys

import pytest
from click.testing import CliRunner

from datarun_worker import check
from datarun_worker.check import check_escapes, check_layers, start_engine
from datarun_worker.isolation import Isolation, Layer
from datarun_worker.sandbox import Engine


def test_every_layer_of_this_machine_works() -> None:
    assert [finding for finding in check_layers() if not finding.is_good] == []


def test_nothing_gets_out_of_a_full_sandbox() -> None:
    engine = start_engine(Isolation.FULL, programs="sandbox_programs")
    try:
        findings = check_escapes(engine)
    finally:
        engine.stop()

    assert len(findings) >= 12
    assert [finding for finding in findings if not finding.is_good] == []


@pytest.mark.parametrize("layer", [Layer.SECCOMP, Layer.NETWORK, Layer.PID])
def test_a_layer_that_does_nothing_is_found_out(layer: Layer) -> None:
    """The engine believes in the layer; its sandboxes lack it."""
    with Engine(Isolation.FULL, programs="sandbox_programs", without={layer}) as engine:
        engine.layers = frozenset(Layer)
        findings = check_escapes(engine)

    assert [finding for finding in findings if not finding.is_good]


def test_no_isolation_is_loud(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        start_engine(Isolation.NONE, programs="sandbox_programs").stop()

    assert "UNCONFINED" in caplog.text


def test_a_machine_without_namespaces_is_refused_with_advice() -> None:
    """A seccomp filter like a container's takes unshare away from the worker and its zygote."""
    code = (
        "from datarun_worker import kernel\n"
        "from datarun_worker.system_calls import build_filter\n"
        "from datarun_worker.check import IsolationError, start_engine\n"
        "from datarun_worker.isolation import Isolation\n"
        "kernel.forbid_new_privileges()\n"
        "kernel.filter_system_calls(build_filter(True))\n"
        "try:\n"
        "    start_engine(Isolation.FULL, programs='sandbox_programs')\n"
        "except IsolationError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "Isolation 'full' can't be had" in done.stdout
    assert "What would help" in done.stdout


def test_the_command_prints_what_was_tried() -> None:
    result = CliRunner().invoke(check.check, [])

    assert result.exit_code == 0, result.output
    assert "landlock" in result.output
    assert "connect to a TCP port" in result.output
