"""A real Chromium and a real JupyterLab for tests, and what is asked of the pages that they show.

This Chromium has no network: every name is unknown to it, and only this machine's address is not.
"""

import base64
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.sign import NotebookNotary

PATIENCE = 60  # seconds until what does not come is a failure
OPTIONS = (
    "--headless",
    "--no-sandbox",  # which a container's root cannot have
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # In a process of its own, as is usual, a sandboxed frame could fail and ask the network for things unheard.
    "--disable-features=IsolateSandboxedIframes",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--window-size=1100,900",
)
KERNEL = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # cells below the window are in the page, too
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


@pytest.fixture(scope="module")  # what stays open slows all other tests
def chromium():
    """A selenium WebDriver."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("no chromium or no chromedriver is installed: Debian's packages are chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with tempfile.TemporaryDirectory(prefix="microgad-", ignore_cleanup_errors=True) as profile:
        for option in (*OPTIONS, f"--user-data-dir={profile}"):
            options.add_argument(option)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("no_proxy", "localhost")  # where the driver is
            opened = webdriver.Chrome(options, webdriver.ChromeService(driver))
        with opened:
            yield opened


@dataclass(frozen=True)
class Server:
    """A JupyterLab: its address, what opens it, the folder that it shows, and the one with its signatures."""

    url: str
    token: str
    root: Path
    data: Path


@pytest.fixture(scope="module")  # what stays open slows all other tests
def jupyterlab(tmp_path_factory) -> Iterator[Server]:
    """A JupyterLab whose settings and signatures are its own."""
    pytest.importorskip("jupyterlab", reason="jupyterlab is not installed")
    home = tmp_path_factory.mktemp("jupyterlab")
    for name, settings in SETTINGS.items():
        path = home / "settings/@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(settings))
    server = Server(f"http://127.0.0.1:{_free_port()}/", secrets.token_hex(), home / "root", home / "data")
    server.root.mkdir()
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": urlsplit(server.url).port,
        "ServerApp.port_retries": 0,
        "ServerApp.open_browser": False,
        "ServerApp.allow_root": True,
        "ServerApp.root_dir": server.root,
        "LabApp.extension_manager": "readonly",
    }
    command = [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in options.items())]
    env = os.environ | {"HOME": str(home), "JUPYTER_DATA_DIR": str(server.data), "JUPYTER_TOKEN": server.token}
    env |= {f"JUPYTER_{name.upper()}_DIR": str(home / name) for name in ("config", "runtime")}
    env |= {f"JUPYTERLAB_{name.upper()}_DIR": str(home / name) for name in ("settings", "workspaces")}
    log = home / "log"
    with log.open("wb") as said, subprocess.Popen(command, env=env, cwd=home, stdout=said, stderr=said) as process:
        try:
            _wait_for(server, process, log)
            yield server
        finally:
            process.terminate()  # it ends its kernels itself


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def _wait_for(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < end:
        try:
            with direct.open(f"{server.url}api", timeout=PATIENCE):
                return
        except urllib.error.URLError:
            time.sleep(0.1)
    pytest.fail(f"JupyterLab does not answer. It said:\n{log.read_text()}")


def run_notebook(sources: Iterable[str]):
    """A notebook of these cells, executed."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL})
    return NotebookClient(notebook, timeout=120).execute()


def nbconvert_page(notebook, path: Path) -> Path:
    """Write a notebook as a page of HTML, as ``jupyter nbconvert`` does."""
    nbconvert = pytest.importorskip("nbconvert", reason="nbconvert is not installed")
    page, _ = nbconvert.HTMLExporter(template_name="lab").from_notebook_node(notebook)
    path.write_text(page, encoding="utf-8")
    return path


def open_page(driver, page: str | Path) -> None:
    """Show an address or a file; what was logged of other pages is forgotten."""
    driver.get("about:blank")  # here ends what the last page still does
    for log in ("browser", "performance"):
        driver.get_log(log)
    driver.get(page.resolve().as_uri() if isinstance(page, Path) else page)


def open_notebook(driver, server: Server, notebook, *, trusted: bool) -> None:
    """Show an executed notebook in JupyterLab, and wait until every cell with outputs shows them."""
    path = server.root / f"{len(list(server.root.iterdir()))}.ipynb"  # a name that no kernel belongs to yet
    nbformat.write(notebook, path)
    notary = NotebookNotary(data_dir=str(server.data))
    (notary.sign if trusted else notary.unsign)(nbformat.read(path, 4))  # the same cells may have been signed before
    notary.store.close()
    open_page(driver, f"{server.url}doc/tree/{path.name}?token={server.token}")
    wait_until(
        driver,
        """
        const outputs = [...document.querySelectorAll(".jp-CodeCell .jp-OutputArea-output")];
        const cells = outputs.filter(output => output.hasChildNodes()).map(output => output.closest(".jp-CodeCell"));
        return new Set(cells).size == arguments[0] && [...document.images].every(image => image.complete);
        """,
        sum(bool(cell.get("outputs")) for cell in notebook.cells),
    )


def wait_until(driver, script: str, *arguments) -> None:
    """Wait until a script, the body of a function of `arguments`, returns something true."""
    end = time.monotonic() + PATIENCE
    while not driver.execute_script(script, *arguments):
        assert time.monotonic() < end, f"still not true: {script.strip()}"
        time.sleep(0.05)


@contextmanager
def inside(driver, frame: str = "iframe") -> Iterator[None]:
    """What is done in this block is done inside a frame of the page, the first one that the CSS selector finds."""
    driver.switch_to.frame(driver.find_element("css selector", frame))
    try:
        yield
    finally:
        driver.switch_to.default_content()


def press(driver, *keys: str) -> None:
    """Press keys one after the other: characters, or names such as ``"ARROW_RIGHT"``, of selenium's `Keys`."""
    from selenium.webdriver import ActionChains, Keys

    ActionChains(driver).send_keys(*(key if len(key) == 1 else getattr(Keys, key) for key in keys)).perform()


def complaints(driver) -> list[str]:
    """What the page and its frames logged as errors and warnings since it was opened, or last asked about.

    What the network did not give is not among them: that is what `requested` is for.
    """
    entries = [entry for entry in _logged(driver, "browser") if entry["level"] in ("SEVERE", "WARNING")]
    return [f"{entry['source']}: {entry['message']}" for entry in entries if entry["source"] != "network"]


def requested(driver) -> list[str]:
    """Which addresses the page and its frames asked for since it was opened, or last asked about.

    Not among them are what stands in the page itself, the page, and what it, not one of its frames, asked of
    its own server. What a worker asks for is not heard.
    """
    page = driver.current_url.partition("#")[0]
    found = []
    for entry in _logged(driver, "performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] not in ("Network.requestWillBeSent", "Network.webSocketCreated"):
            continue
        asked = message["params"]
        if "redirectResponse" in asked:  # a server said so, not the page
            continue
        url, by = asked["request"]["url"] if "request" in asked else asked["url"], asked.get("documentURL", page)
        own = url == page or urlsplit(url).netloc == urlsplit(by).netloc == urlsplit(page).netloc != ""
        if not own and urlsplit(url).scheme not in ("about", "blob", "chrome", "data"):
            found.append(url)
    return found


def _logged(driver, log: str) -> list[dict]:
    driver.execute_async_script("setTimeout(arguments[0])")  # what the page is about to do comes first
    return driver.get_log(log)


def screenshot(driver, path: Path) -> None:
    """Save a picture of the whole page as PNG."""
    picture = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
    path.write_bytes(base64.b64decode(picture["data"]))


@dataclass(frozen=True)
class Text:
    """A text that can be seen: its colours as ``#rrggbb``, and where it is in the window."""

    color: str
    background: str
    text: str
    left: float
    top: float
    right: float
    bottom: float
    clipped: bool  # it goes beyond what its surroundings show
    disabled: bool  # it belongs to a disabled control


def texts(driver, root: str = ":root") -> list[Text]:
    """The texts that can be seen inside what the CSS selector finds first; also in SVG, but not inside ``<img>``."""
    found = driver.execute_script(TEXTS, root)
    return [Text(_mixed(text.pop("color")), _mixed(text.pop("background")), **text) for text in found]


def faint(driver, root: str = ":root") -> list[tuple[Text, float]]:
    """The texts whose contrast is less than 4.5:1, with it; those of disabled controls are exempt (WCAG 1.4.3)."""
    found = [(text, contrast(text.color, text.background)) for text in texts(driver, root) if not text.disabled]
    return [(text, ratio) for text, ratio in found if ratio < 4.5]


def overlapping(driver, root: str = ":root", slack: float = 2) -> list[tuple[str, str]]:
    """The pairs of texts that share more than `slack` pixels in width and in height."""
    return [
        (one.text, other.text)
        for one, other in combinations(texts(driver, root), 2)
        if min(one.right, other.right) - max(one.left, other.left) > slack
        and min(one.bottom, other.bottom) - max(one.top, other.top) > slack
    ]


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, ``#rrggbb``, from 1 to 21 (WCAG 2.1)."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def luminance(color: str) -> float:
    """The relative luminance of a colour, ``#rrggbb``, from 0 to 1 (WCAG 2.1)."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _mixed(layers: list[list[float]]) -> str:
    """What is seen of layers of red, green, blue (to 255) and opacity (to 1), the lowest first, on white."""
    seen = [255.0, 255.0, 255.0]
    for *color, alpha in layers:
        seen = [alpha * part + (1 - alpha) * below for part, below in zip(color, seen, strict=True)]
    return "#" + "".join(f"{round(part):02x}" for part in seen)


# A background is what the elements around a text have as theirs, and in SVG the shapes that are painted before
# it where its middle is.
TEXTS = """
const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});

function remembered(compute) {
    const known = new Map();
    return key => known.has(key) ? known.get(key) : known.set(key, compute(key)).get(key);
}

const rgba = remembered(color => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = "#0000";  // what stays where the colour is none, as of a gradient
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
});
const opacity = remembered(e => e ? getComputedStyle(e).opacity * opacity(e.parentElement) : 1);
const around = remembered(e => e ? [...around(e.parentElement), e] : []);
const frame = remembered(e => ["hidden", "clip"].includes(getComputedStyle(e).overflowX) && e.getBoundingClientRect());
const shapes = remembered(svg => [...svg.querySelectorAll("rect, circle, ellipse, polygon, polyline, path")]
    .filter(shape => shape.checkVisibility({visibilityProperty: true})
        && !shape.closest("defs, clipPath, marker, mask, pattern, symbol"))
    .map(shape => ({shape, color: fill(shape), box: shape.getBoundingClientRect()})).filter(({color}) => color[3]));

function layer(element, color, alpha = 1) {
    const [r, g, b, a] = rgba(color);
    return [r, g, b, a * alpha * opacity(element)];
}

function fill(element) {
    const style = getComputedStyle(element);
    return layer(element, style.fill, style.fillOpacity);
}

const found = [];
const walker = document.createTreeWalker(document.querySelector(arguments[0]), NodeFilter.SHOW_TEXT);
for (let node; node = walker.nextNode();) {
    const element = node.parentElement, range = document.createRange();
    range.selectNodeContents(node);
    const {left, top, right, bottom} = range.getBoundingClientRect(), x = (left + right) / 2, y = (top + bottom) / 2;
    const shown = element.checkVisibility({opacityProperty: true, visibilityProperty: true})
        && !element.matches("details:not([open])");
    if (!node.data.trim() || !shown || right - left < 1) continue;
    const frames = around(element).map(frame).filter(Boolean);
    if (frames.some(({width, height}) => width <= 1 || height <= 1)) continue;  // for screen readers alone
    const background = around(element).flatMap(e => {
        if (!(e instanceof SVGElement)) return [layer(e, getComputedStyle(e).backgroundColor)];
        if (e.ownerSVGElement) return [];
        const painted = shapes(e).filter(({shape, box}) =>
            box.left <= x && x <= box.right && box.top <= y && y <= box.bottom
            && shape.compareDocumentPosition(element) & Node.DOCUMENT_POSITION_FOLLOWING
            && shape.isPointInFill(new DOMPoint(x, y).matrixTransform(shape.getScreenCTM().inverse())));
        return [layer(e, getComputedStyle(e).backgroundColor), ...painted.map(({color}) => color)];
    });
    const ink = element instanceof SVGElement ? fill(element) : layer(element, getComputedStyle(element).color);
    found.push({
        text: node.data.trim(), left, top, right, bottom, background, color: [...background, ink],
        clipped: frames.some(frame => left < frame.left - 1 || right > frame.right + 1
            || top < frame.top - 1 || bottom > frame.bottom + 1),
        disabled: Boolean(element.closest(":disabled")),
    });
}
return found;
"""
