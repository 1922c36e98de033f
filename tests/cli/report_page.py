"""Uses a report's page as a reader does, in a headless Chromium, and checks what it shows against the page's own data.

usage: report_page.py [--screenshot FILE.png [--record N] [--size WxH] [--heading TEXT]] PAGE.html...

Exit code 77, with the reason, where Chromium, its driver or selenium are missing (Debian: chromium chromium-driver
python3-selenium).
"""
import argparse
import json
import pathlib
import re
import shutil
import sys
import time

try:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select
except ImportError:
    print("skipped: python3 has no selenium")
    sys.exit(77)

chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
driver_path = shutil.which("chromedriver")
if not chromium or not driver_path:
    print("skipped: no Chromium with its driver")
    sys.exit(77)

parser = argparse.ArgumentParser()
parser.add_argument("--screenshot")
parser.add_argument("--record")
parser.add_argument("--size", default="1200x900")
parser.add_argument("--heading", help="section at the top of the picture")
parser.add_argument("pages", nargs="+")
arguments = parser.parse_args()

SLOWEST = 3.0  # seconds for a filter or a step


def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars",
                 "--disable-background-networking", "--force-device-scale-factor=1"):
        options.add_argument(flag)
    options.add_argument("--window-size=" + arguments.size.replace("x", ","))
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(service=Service(driver_path), options=options)


def passes(kind, item, a, b):
    """The filters of the page, written a second time."""
    x = item["answers"][a]
    y = item["answers"][b] if b is not None else None
    right = lambda answer: answer is not None and answer["score"] >= 0.5
    wrong = lambda answer: answer is not None and answer["score"] < 0.5
    return {
        "all": True,
        "the answers differ": bool(x and y) and x["output"] != y["output"],
        "right in A, wrong in B": right(x) and wrong(y),
        "wrong in A, right in B": wrong(x) and right(y),
        "wrong in A": wrong(x),
        "wrong in B": wrong(y),
        "failed": any(answer is not None and "error" in answer for answer in (x, y)),
        "with attention maps": any(answer is not None and answer.get("maps") for answer in item["answers"]),
    }[kind]


class Page:
    def __init__(self, driver, path):
        self.driver = driver
        self.address = pathlib.Path(path).resolve().as_uri()
        text = pathlib.Path(path).read_text()
        read = lambda name: json.loads(re.search(r'<script type="application/json" id="%s">(.*?)</script>' % name, text, re.S)[1])
        self.report, self.pictures = read("report"), read("pictures")
        driver.get("about:blank")  # a page that differs in its #part only would not be loaded again
        driver.get(self.address)

    def find(self, name):
        return self.driver.find_element(By.ID, name)

    def text(self, name):
        return self.find(name).get_property("textContent")

    def record(self):
        return int(self.find("record").get_property("value"))

    def choose(self, name, value):
        start = time.time()
        Select(self.find(name)).select_by_visible_text(value)
        taken = time.time() - start
        assert taken < SLOWEST, f"{name} = {value} took {taken:.2f} s"

    def search(self, word):
        field = self.find("word")
        field.clear()
        field.send_keys(word if word else " " + Keys.BACKSPACE)

    def check_item(self, item, runs):
        """What is shown is the item: its text, its pictures, both answers; and one item only."""
        assert self.record() == item["record"], (self.record(), item["record"])
        assert self.text("prompt") == item["prompt"], (self.text("prompt"), item["prompt"])
        assert self.text("gold") == "expected: " + item["gold"]
        assert len(self.driver.find_elements(By.CSS_SELECTOR, "#item > *")) == 1
        boxes = self.driver.find_elements(By.CSS_SELECTOR, "#item .answer")
        assert len(boxes) == len(runs)
        maps = 0
        for box, run in zip(boxes, runs):
            answer, shown = item["answers"][run], box.get_property("textContent")
            if answer is None:
                assert "not asked" in shown
                continue
            assert (answer.get("error") or answer["output"] or "(empty)") in shown, (answer, shown)
            assert f"score {answer['score']:.2f}" in shown
            assert ("right" if answer["score"] >= 0.5 else "wrong") in box.get_attribute("class")
            for one in answer.get("maps", []):
                assert one["caption"] in shown
            maps += len(answer.get("maps", []))
        loaded = self.driver.execute_async_script(
            "const done = arguments[0], images = [...document.querySelectorAll('#item img')];"
            "Promise.all(images.map(i => i.decode())).then(() => done(images.map(i => i.naturalWidth)), e => done(String(e)))")
        assert isinstance(loaded, list) and all(width > 0 for width in loaded), loaded
        assert len(loaded) == len(item["pictures"]) + maps, (loaded, item["pictures"], maps)

    def check_set(self, number):
        data = self.report["sets"][number]
        if number > 0:
            self.choose("set", data["name"])
        items, runs = data["items"], len(data["runs"])
        a, b = 0, (1 if runs > 1 else None)
        shown_runs = [a] if b is None else [a, b]
        for kind in [option.text for option in Select(self.find("filter")).options]:
            self.choose("filter", kind)
            expected = [item for item in items if passes(kind, item, a, b)]
            count = self.text("count")
            if not expected:
                assert count == f"none of {len(items)} items", (kind, count)
                continue
            assert f" of {len(expected)}" in count, (kind, count, len(expected))
            place = next(i for i, item in enumerate(expected) if item["record"] == self.record())
            self.check_item(expected[place], shown_runs)
            if kind not in ("all", "wrong in A"):
                continue
            self.find("next").click()
            self.check_item(expected[(place + 1) % len(expected)], shown_runs)
            self.find("previous").click()
            self.check_item(expected[place], shown_runs)
            body = self.driver.find_element(By.TAG_NAME, "body")
            self.driver.execute_script("document.activeElement.blur()")
            body.send_keys(Keys.ARROW_LEFT)
            self.check_item(expected[place - 1], shown_runs)
            body.send_keys(Keys.ARROW_RIGHT)
            self.check_item(expected[place], shown_runs)
        self.choose("filter", "all")
        words = [word for word in re.findall(r"\w{4,}", items[-1]["prompt"]) if word.isascii()]
        if words:
            word = words[-1].lower()
            fields = lambda item: [str(item["record"]), item["prompt"], item["gold"], item["kind"]] + [
                item["answers"][run]["output"] for run in shown_runs if item["answers"][run]]
            expected = [item for item in items if any(word in field.lower() for field in fields(item))]
            self.search(word)
            assert f" of {len(expected)}" in self.text("count"), (word, self.text("count"), len(expected))
            self.search("no text of any item \u2603")
            assert self.text("count") == f"none of {len(items)} items"
            self.search("")
        if b is not None:
            self.choose("b", "–")
            self.check_item(next(item for item in items if item["record"] == self.record()), [a])
        # A link to an item.
        last = items[-1]["record"]
        part = (data["name"] + "/" if len(self.report["sets"]) > 1 else "") + str(last)
        self.driver.get("about:blank")
        self.driver.get(self.address + "#" + part)
        self.check_item(items[-1], shown_runs)

    def check_tables(self):
        shown = self.driver.execute_script("return document.querySelectorAll('table').length")
        tables = len({row["table"] for row in self.report["rows"]})
        assert shown == 1 + tables + (1 if self.report["comparisons"] else 0), (shown, tables)
        cells = self.driver.execute_script("return [...document.querySelectorAll('td')].map(x => x.textContent)")
        for row in self.report["rows"]:
            assert row["why"] in cells
        figures = self.driver.execute_script(
            "return [...document.querySelectorAll('img.figure')].map(x => x.complete && x.naturalWidth > 0)")
        assert figures == [True] * len(self.report["figures"]), figures

    def check_quiet(self):
        """Nothing was said on the console, nothing was asked of a network, and no other script runs."""
        messages = [entry for entry in self.driver.get_log("browser")]
        assert not messages, messages
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                address = message["params"]["request"]["url"]
                own = address.split("#")[0] == self.address or address.startswith(("data:", "about:"))
                assert own, address
        assert self.driver.execute_script("return document.scripts.length") == 3
        injected = self.driver.execute_script(
            "const s = document.createElement('script'); s.textContent = 'window.injected = 1'; document.body.appendChild(s);"
            "s.remove(); return window.injected === undefined")
        assert injected, "the page's policy lets foreign scripts run"
        self.driver.get_log("browser")  # (the policy's complaint about that)


driver = browser()
try:
    for path in arguments.pages:
        start = time.time()
        page = Page(driver, path)
        page.check_tables()
        for number in range(len(page.report["sets"])):
            page.check_set(number)
        page.check_quiet()
        items = sum(len(data["items"]) for data in page.report["sets"])
        print(f"{pathlib.Path(path).name}: {items} items, {len(page.pictures)} pictures, checked in {time.time() - start:.1f} s")
    if arguments.screenshot:
        page = Page(driver, arguments.pages[-1])
        if arguments.record:
            driver.get("about:blank")
            driver.get(page.address + "#" + arguments.record)
        if arguments.heading:
            driver.execute_script(
                "[...document.querySelectorAll('h2')].find(x => x.textContent === arguments[0]).scrollIntoView()",
                arguments.heading)
        time.sleep(0.5)
        driver.save_screenshot(arguments.screenshot)
finally:
    driver.quit()
