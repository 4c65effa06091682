"""One line of progress that a person understands, and at the end the seconds by folder."""

import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

EVERY = 0.05  # of all tests: a line where lines cannot be written over


class Progress:
    """Count tests on the controlling process, in a terminal on one line that is written over."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.start = time.monotonic()
        self.seconds: dict[str, float] = defaultdict(float)
        self.tests: dict[str, int] = defaultdict(int)
        self.done = self.failed = 0
        self.said = 0.0  # when a terminal's line was last written, or at which share a line was
        self.session: pytest.Session | None = None

    @property
    def quiet(self) -> bool:
        """Another form was asked for: -v or -q."""
        return self.config.get_verbosity() != 0

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self.session = session
        terminal: Any = self.config.pluginmanager.getplugin("terminalreporter")
        if terminal and not self.quiet:
            terminal.showfspath = terminal._show_progress_info = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport):
        """No dots: this plugin's line stands for them."""
        if self.quiet:
            return None
        if report.skipped:
            return ("xfailed" if hasattr(report, "wasxfail") else "skipped"), "", ""
        if report.passed:
            return ("passed" if report.when == "call" else ""), "", ""
        return ("failed" if report.when == "call" else "error"), "", ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        folder = where(report.nodeid)
        self.seconds[folder] += report.duration
        if report.failed:
            self.failed += 1
            if not self.quiet:
                self._clear()
                print(f"FAILED {report.nodeid} ({report.when})", flush=True)
        if report.when == "teardown":
            self.done += 1
            self.tests[folder] += 1
            if not self.quiet:
                self._show(folder)

    def _clear(self) -> None:
        if sys.stdout.isatty():
            print("\r\033[K", end="")

    def _show(self, folder: str) -> None:
        total = max(self.session.testscollected if self.session else 0, self.done)
        share, now = self.done / total, time.monotonic() - self.start
        minutes, seconds = divmod(int(now), 60)
        line = (
            f"{share:5.0%}  {self.done:,} of {total:,} tests  {minutes}:{seconds:02} min  "
            f"{self.failed or 'none'} failed  {folder}"
        )
        if sys.stdout.isatty():
            if now - self.said > 0.1 or self.done == total:
                self.said = now
                print(f"\r\033[K{line}", end="", flush=True)
        elif share >= self.said + EVERY or self.done == total:
            self.said = share
            print(line, flush=True)

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.done:
            return
        terminalreporter.section("seconds of all workers by folder")
        for folder, seconds in sorted(self.seconds.items(), key=lambda each: -each[1]):
            terminalreporter.line(f"{seconds:8.1f} s  {self.tests[folder]:5} tests  {folder}")
        total = sum(self.seconds.values())
        terminalreporter.line(f"{total:8.1f} s  {self.done:5} tests  in all")


def where(nodeid: str) -> str:
    """The folder of a test, or its file where that stands in tests/ itself."""
    parts = Path(nodeid.partition("::")[0]).parts
    return "/".join(parts[:2])


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Only where reports come together: not on a worker of pytest-xdist."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Progress(config), "latentgen-progress")
