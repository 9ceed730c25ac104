from tests.fuzz import harness


def pytest_terminal_summary(terminalreporter):
    if harness.OUTCOMES:
        terminalreporter.section("cases by outcome")
        for line in harness.table():
            terminalreporter.write_line(line)
