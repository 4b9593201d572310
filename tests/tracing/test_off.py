"""Without tracing nothing of it is imported; without the extra, asking for it says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_a_worker_that_does_not_trace_imports_none_of_it():
    ran = python(
        "import sys; from streams import app, settings; "
        "assert app._tracer(settings.load(None, {}, {})) is None; "
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]; "
        "assert 'streams.tracing' not in sys.modules"
    )
    assert ran.returncode == 0, ran.stderr


def test_asked_for_without_the_extra_it_is_2_and_says_what_to_install():
    ran = python(
        "import sys; sys.modules['opentelemetry'] = None; from streams import cli; "
        "cli.main(['worker', '--set', 'tracing=true', '--bootstrap-servers', '127.0.0.1:1'])"
    )
    assert ran.returncode == 2, ran.stderr
    assert "pip install 'leidan[otel]'" in ran.stderr
    assert "Traceback" not in ran.stderr
