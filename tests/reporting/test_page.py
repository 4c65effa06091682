"""Pages in a browser: no request, no error, one slider for all pictures, accessible to everyone."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import commands
import made_up
import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from latentgen.baselines import running, store
from latentgen.reporting import folders, ledger, opened, page, scores
from latentgen.training import pictures

pytestmark = pytest.mark.long  # browsers

FLAGS = ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "hide-scrollbars")
LOGS = {"browser": "ALL", "performance": "ALL"}
LIGHT, DARK = "light", "dark"


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    """Debian's Chromium; without it, a skip, or under CI a failure."""
    programs = [shutil.which("chromium"), shutil.which("chromedriver")]
    if None in programs:
        complain = pytest.fail if os.environ.get("LATENTGEN_CI") else pytest.skip
        complain("needs Debian's chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    for flag in FLAGS:
        options.add_argument(f"--{flag}")
    options.binary_location = str(programs[0])
    options.set_capability("goog:loggingPrefs", LOGS)
    driver = webdriver.Chrome(options=options, service=Service(str(programs[1])))
    yield driver
    driver.quit()


def looks(name: str) -> opened.Opened:
    """One picture of each kind that a checkpoint can show."""
    picture = made_up.digits(0)
    logits = np.linspace(-1, 1, 96 * 96).reshape(96, 96)
    points = np.random.default_rng(0).random((40, 2))
    return opened.Opened(
        name,
        1000,
        opened.Traversal(picture, 8, 8),
        opened.Neighbours(picture, np.full((12, 3), 0.1), 0.1, 0.1, "test", 100, 200),
        opened.Field(logits, (0.0, 0.0, 1.0, 1.0), points, points, 0.0),
    )


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The addresses of a run's page and of a sweep's, with everything there can be on them."""
    folder = tmp_path_factory.mktemp("pages")
    more = {"kinds": folders.KINDS, "steps": (0, 250, 500, 750, 1000)}
    run = made_up.run(folder / "run", **more)
    members = made_up.learning_rates({0.001: [3.0, 4.0], 0.02: [1.0, 2.0], 0.3: [9.0]})
    members[1]["status"] = {"status": "diverged", "reason": "loss is not finite", "attempts": 2}
    sweep = made_up.sweep(folder / "sweep", members, **more)
    protocol = {"real": 200, "features": "digits"}
    line = {"metric": "frechet", "split": "test", "step": 1000, "protocol": protocol}
    values = {"frechet_distance": {"mean": 1.0, "standard_error": 0.1}}
    for place in (run, sweep / "runs" / "lr=0.02,s=0"):
        made_up.lines(place / "evaluations.jsonl", [{**line, "values": values}])
    found = {}
    for path in (run, sweep):
        read = folders.open_folder(path)
        metric = "validation/loss"
        best = scores.best(scores.ranked(read.members, metric, True), metric, True)[:2]
        some = [looks(member.name) for member in (best if read.is_sweep else read.members)]
        text = page.page(read, some, metric, True, True, "python -m latentgen.report DIR")
        file = folder / f"{path.name}.html"
        file.write_text(text)
        found[path.name] = file.as_uri()
    long = "x" * 150
    bare = folders.open_folder(made_up.run(folder / long, kinds=(), terms=(long,), done=False))
    why = opened.Opened(long, None, *3 * (f"{long} cannot be opened.",))
    file = folder / "bare.html"
    file.write_text(page.page(bare, [why], None, True, False, long))
    (folder / "ledger.html").write_text(of_baselines(folder / "baselines"))
    return {**found, "bare": file.as_uri(), "ledger": (folder / "ledger.html").as_uri()}


def of_baselines(runs: Path) -> str:
    """The page of three baselines: computed, trained, not yet run but with a picture."""
    source = commands.ROOT / store.FOLDER
    some = {name: store.baseline(name, source) for name in ("dirac_gan", "pacgan_ring", "wu_order")}
    results = {k: v for k, v in store.results(source).items() if k in some}
    member = next(iter(running.members(some["wu_order"].recipe, "paper", 1).values()))
    samples = runs / "wu_order-paper" / "runs" / member.run / "samples"
    samples.mkdir(parents=True)
    pictures.save_png(samples / "step_00000010.png", made_up.digits(0))
    return ledger.page(ledger.Ledger(some, results, store.entries(source)), runs, "the command")


def show(browser: webdriver.Chrome, url: str, scheme: str = LIGHT, width: int = 1200) -> None:
    """Opens a page, with the scripts that it brings."""
    for log in LOGS:
        browser.get_log(log)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(url)


def sources(browser: webdriver.Chrome) -> list[str]:
    """The sources of all pictures that the slider changes."""
    images = browser.find_elements(By.CSS_SELECTOR, ".pair > div:last-child > img")
    return [str(image.get_attribute("src")) for image in images]


@pytest.mark.parametrize("name", ["run", "sweep", "bare", "ledger"])
def test_a_page_makes_no_request_and_no_error(
    browser: webdriver.Chrome, pages: dict[str, str], name: str
) -> None:
    show(browser, pages[name])
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [
        e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"
    ]
    assert pages[name] in sent  # or nothing was watched
    assert [url for url in sent if url != pages[name] and not url.startswith("data:")] == []
    assert browser.get_log("browser") == []
    broken = "return [...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert browser.execute_script(broken) == 0


def test_the_browser_refuses_what_the_page_does_not_bring(
    browser: webdriver.Chrome, pages: dict[str, str], tmp_path: Path
) -> None:
    text = Path(url2pathname(urlsplit(pages["run"]).path)).read_text()
    evil = "<script>document.title = 'stolen'</script><img src='https://localhost:1/x'></body>"
    file = tmp_path / "evil.html"
    file.write_text(text.replace("</body>", evil))
    show(browser, file.as_uri())
    assert browser.title == "run"
    assert sum("Content Security Policy" in e["message"] for e in browser.get_log("browser")) == 2


@pytest.mark.parametrize(("name", "series"), [("run", 2), ("sweep", 10)])
def test_one_slider_moves_all_pictures(
    browser: webdriver.Chrome, pages: dict[str, str], name: str, series: int
) -> None:
    show(browser, pages[name])
    slider = browser.find_element(By.ID, "step")
    shown = browser.find_element(By.ID, "step-shown")
    captions = lambda: {e.text for e in browser.find_elements(By.CSS_SELECTOR, "[id$='-at']")}  # noqa: E731
    last = sources(browser)
    assert len(last) == series
    assert (shown.text, captions()) == ("1,000", {"step 1,000"})
    slider.send_keys(Keys.ARROW_LEFT)
    before = sources(browser)
    assert all(a != b for a, b in zip(last, before, strict=True))
    assert (shown.text, captions()) == ("750", {"step 750"})
    assert slider.get_attribute("aria-valuetext") == "step 750"
    slider.send_keys(Keys.HOME)
    assert (shown.text, captions()) == ("0", {"step 0"})
    firsts = browser.find_elements(By.CSS_SELECTOR, ".first > img")
    assert sources(browser) == [e.get_attribute("src") for e in firsts]
    slider.send_keys(Keys.END)
    assert sources(browser) == last
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("scheme", [LIGHT, DARK])
@pytest.mark.parametrize("name", ["run", "sweep", "bare", "ledger"])
def test_a_page_is_accessible_and_fits(
    browser: webdriver.Chrome, pages: dict[str, str], name: str, scheme: str, width: int
) -> None:
    from axe_core_python.selenium import Axe

    show(browser, pages[name], scheme, width)
    for details in browser.find_elements(By.TAG_NAME, "details"):
        browser.execute_script("arguments[0].open = true", details)
    found = Axe().run(browser)
    assert len(found["passes"]) > 20
    assert {v["id"]: [n["html"] for n in v["nodes"]] for v in found["violations"]} == {}
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.execute_script(wide) <= 0


@pytest.mark.parametrize(("name", "series"), [("run", 2), ("sweep", 10)])
def test_without_javascript_nothing_is_lost(
    browser: webdriver.Chrome, pages: dict[str, str], name: str, series: int
) -> None:
    disable = "Emulation.setScriptExecutionDisabled"
    browser.execute_cdp_cmd(disable, {"value": True})
    try:
        show(browser, pages[name])
        of_pairs = (By.CSS_SELECTOR, ".pair img")
        # Without scripts the driver does not wait until the page is there.
        WebDriverWait(browser, 30).until(lambda b: len(b.find_elements(*of_pairs)) >= 2 * series)
        images = browser.find_elements(*of_pairs)
        assert len(images) == 2 * series
        assert all(image.is_displayed() for image in images)
        assert not browser.find_element(By.ID, "slider").is_displayed()
        note = browser.find_element(By.TAG_NAME, "noscript")
        assert "Without JavaScript" in note.text
        captions = {e.text for e in browser.find_elements(By.CLASS_NAME, "at")}
        assert captions == {"step 0, the first", "step 1,000"}
    finally:
        browser.execute_cdp_cmd(disable, {"value": False})


@pytest.mark.parametrize("name", ["run", "sweep", "bare", "ledger"])
def test_on_paper_it_is_dark_on_white_and_within_the_page(
    browser: webdriver.Chrome, pages: dict[str, str], name: str
) -> None:
    show(browser, pages[name], DARK, 794)
    features = [{"name": "prefers-color-scheme", "value": DARK}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": features})
    style = "return getComputedStyle(document.body)"
    assert browser.execute_script(f"{style}.backgroundColor") == "rgb(255, 255, 255)"
    assert browser.execute_script(f"{style}.color") == "rgb(0, 0, 0)"
    assert not any(e.is_displayed() for e in browser.find_elements(By.ID, "slider"))
    assert all(e.is_displayed() for e in browser.find_elements(By.CSS_SELECTOR, ".first > img"))
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.execute_script(wide) <= 0
