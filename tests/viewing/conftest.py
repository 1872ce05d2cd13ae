"""The browser that pages are looked at in; tests of it are left out where none is installed."""

import json
import os
import shutil

import pytest


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver

    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        assert not os.environ.get("CI"), "continuous integration has chromium and chromedriver"
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    flags = "headless=new no-sandbox disable-dev-shm-usage window-size=1280,800"
    for flag in (*flags.split(), "use-angle=swiftshader", "enable-unsafe-swiftshader"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with webdriver.Chrome(options=options, service=service) as driver:
        driver.set_script_timeout(20)
        yield driver


@pytest.fixture
def asked(browser):
    """Return a function that gives all addresses that were asked for; there must be no error."""
    browser.get_log("browser"), browser.get_log("performance")

    def look(refusal="no refusal"):
        errors = [one["message"] for one in browser.get_log("browser") if one["level"] == "SEVERE"]
        assert not [line for line in errors if refusal not in line], errors
        sent = (json.loads(one["message"])["message"] for one in browser.get_log("performance"))
        sent = (one["params"] for one in sent if one["method"] == "Network.requestWillBeSent")
        return [one["request"]["url"] for one in sent]

    return look
