"""Options of the test run, and the fixtures that test files share."""

from browser import chromium, jupyterlab  # noqa: F401


def pytest_addoption(parser):
    group = parser.getgroup("microgad")
    group.addoption(
        "--graphs", type=int, default=2000, metavar="N", help="how many graphs tests/test_random_tensors.py draws"
    )
    group.addoption("--graph", type=int, metavar="SEED", help="the one graph that it draws, as a failure names it")
