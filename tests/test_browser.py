"""The report in Chromium: the slider shows what it says, pixel by pixel, and nothing is fetched."""

import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib", reason="the evaluate extra is not installed: make setup")
pytest.importorskip("selenium", reason="the test extra is not installed: make setup")

from report_facts import HEIGHT, WIDTH, make_facts, make_spectra, make_views
from selenium.webdriver import ActionChains, Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from openeo_superres.evaluate.report import build_report
from openeo_superres.picture import COMPOSITES, colours, stretch_limits
from openeo_superres.sensor import BAND_NAMES

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.allow_hosts(["127.0.0.1", "::1"]),
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER),
        reason="needs Chromium and ChromeDriver: apt-get install chromium chromium-driver",
    ),
]

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars "
    "--force-device-scale-factor=1 --force-color-profile=srgb --window-size=1200,1000"
)
ZOOM = 960 // WIDTH
"""Screen pixels per pixel of the picture, on a screen that is wide enough."""


@pytest.fixture(scope="module")
def view(image):
    return make_views(image)[0]


@pytest.fixture(scope="module")
def address(view, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(build_report(make_facts(), [view], {"x2": make_spectra()["x2"]}), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    options = ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(chromium, address):
    """Opened anew; in the end, nothing was complained of and nothing fetched."""
    for log in ("browser", "performance"):
        chromium.get_log(log)
    chromium.get(address)
    yield chromium
    assert chromium.get_log("browser") == []
    entries = chromium.execute_script("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert [name for name in entries if not name.startswith("data:")] == []
    assert requested(chromium) <= {address}


def requested(chromium):
    """Addresses that were asked for, other than data, and than what Chromium's own first page needs."""
    messages = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    sent = [each["params"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    addresses = {each["request"]["url"].split("#")[0] for each in sent}
    return {each for each in addresses if not each.startswith(("data:", "chrome:"))}


def slider(page):
    return page.find_element(By.CSS_SELECTOR, "input[type=range]")


def choose(page, control, value):
    Select(page.find_element(By.ID, f"{control}-1")).select_by_value(value)


def drawn(page):
    """The stage as it is on the screen: ``(ZOOM * y, ZOOM * x, 3)``."""
    stage = page.find_element(By.CLASS_NAME, "stage")
    with Image.open(io.BytesIO(stage.screenshot_as_png)) as shot:
        return np.asarray(shot.convert("RGB"))


def expected(view, label, title="true colour"):
    bands = next(composite.bands for composite in COMPOSITES if composite.title == title)
    chosen = [BAND_NAMES.index(band) for band in bands]
    return colours(view.images[label][chosen], stretch_limits(view.images["bicubic"][chosen]))


def assert_split(page, share, left, right):
    """Left of the line one picture, right of it the other; what lies over them is left out."""
    seen = drawn(page)
    column, middle = round(share * WIDTH * ZOOM), HEIGHT * ZOOM // 2
    # the outermost of a pixel may be rounded to the next
    rows, columns = (np.abs(np.arange(n) % ZOOM - ZOOM // 2) < ZOOM // 2 - 1 for n in seen.shape[:2])
    rows[:50] = rows[middle - 30 : middle + 30] = False  # labels, and the handle
    along = np.arange(seen.shape[1])
    for side, image in ((along < column - 3, left), (along > column + 3, right)):
        shown = np.ix_(rows, columns & side)
        np.testing.assert_array_equal(seen[shown], image.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)[shown])


def test_it_opens_in_the_middle_with_bicubic_and_the_last_model(page, view):
    assert slider(page).get_property("value") == "50"
    assert_split(page, 0.5, expected(view, "bicubic"), expected(view, "edsr"))
    tags = [page.find_element(By.CLASS_NAME, side).text for side in ("before", "after")]
    assert tags == ["bicubic", "edsr"]


def test_keys_move_the_line(page, view):
    left, right = expected(view, "bicubic"), expected(view, "edsr")
    slider(page).send_keys(Keys.HOME)
    assert_split(page, 0, left, right)
    slider(page).send_keys(Keys.END)
    assert_split(page, 1, left, right)
    slider(page).send_keys(Keys.HOME, *[Keys.ARROW_RIGHT] * 50)
    assert slider(page).get_property("value") == "25"
    assert_split(page, 0.25, left, right)
    assert slider(page).get_attribute("aria-valuetext") == "bicubic up to 25 %, then edsr"


def test_tab_reaches_the_slider_and_shows_where_it_is(page):
    page.find_element(By.ID, "colours-1").send_keys(Keys.TAB)
    assert page.switch_to.active_element.get_attribute("id") == "slider-1"


@pytest.mark.parametrize("share", [0.125, 0.75])
def test_the_line_follows_the_mouse(page, view, share):
    stage = page.find_element(By.CLASS_NAME, "stage")
    width, height = WIDTH * ZOOM, HEIGHT * ZOOM
    page.execute_script("arguments[0].scrollIntoView()", stage)
    actions = ActionChains(page, duration=20)
    actions.move_to_element_with_offset(stage, 0, 0).click_and_hold()
    actions.move_by_offset(round((share - 0.5) * width), height // 4).release().perform()
    assert float(slider(page).get_property("value")) == 100 * share
    assert_split(page, share, expected(view, "bicubic"), expected(view, "edsr"))


def test_other_results_and_colours_can_be_chosen(page, view):
    for title in [composite.title for composite in COMPOSITES]:
        choose(page, "colours", title)
        assert_split(page, 0.5, expected(view, "bicubic", title), expected(view, "edsr", title))
    choose(page, "left", "edsr")
    choose(page, "right", "cubic_mtf")
    left, right = (expected(view, label, COMPOSITES[-1].title) for label in ("edsr", "cubic_mtf"))
    assert_split(page, 0.5, left, right)
    assert (left != right).any(axis=2).mean() > 0.9
    choose(page, "left", "cubic_mtf")
    assert_split(page, 0.5, right, right)


@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_sticks_out(page, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
        stage = page.find_element(By.CLASS_NAME, "stage").size
        assert stage["width"] / stage["height"] == pytest.approx(WIDTH / HEIGHT, rel=0.01)
        assert stage["width"] > 0.85 * min(width, WIDTH * ZOOM)
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_printing_opens_the_tables(page):
    page.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert page.execute_script("return [...document.querySelectorAll('details')].every((part) => part.open)")


def test_names_are_no_scripts(page):
    assert page.execute_script("return window.taken") is None
    assert "<script>window.taken = 1</script>" in page.find_element(By.CLASS_NAME, "facts").text


def test_the_browser_would_refuse_what_is_fetched_or_run(chromium, address):
    """The page's policy holds, whatever stands in the page."""
    chromium.get(address)
    refused = chromium.execute_async_script(
        """
        const [done] = arguments, refused = [];
        document.addEventListener("securitypolicyviolation", (event) => {
          refused.push(event.effectiveDirective);
          if (refused.length === 2) done(refused.sort());
        });
        const script = document.createElement("script");
        script.textContent = "window.taken = 1";
        const image = new Image();
        image.src = "http://127.0.0.1:9/x.png";
        document.body.append(script, image);
        """
    )
    assert refused == ["img-src", "script-src-elem"]
    assert chromium.execute_script("return window.taken") is None
