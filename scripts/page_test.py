"""Drives pages in a real Chromium, through its driver (the WebDriver protocol, nothing but the standard library).

    python3 scripts/page_test.py PART http://127.0.0.1:8080 SCREENSHOT.png KEYS AXE
    python3 scripts/page_test.py reports FOLDER SCREENSHOT.png - AXE

PART is what is looked at: `labels`, of a bundle of the two tasks of the demo data, `kinds`, of one of every kind of task, or `many`, of one
of 150 labels (bundles of make-test-bundles.sh); `reports` looks at every page in a folder. AXE is axe.min.js: no page may break any of its
rules, as wide as on a desk and as narrow as on a phone. The server must refuse long texts (--long refuse), as the test wants to see a refusal shown properly, and want a key of the file KEYS, which
the test exchanges at the end.
"""

import base64
import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    def __init__(self, driver):
        self.base = driver
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        wanted = {
            "capabilities": {
                "alwaysMatch": {
                    "browserName": "chrome",
                    "goog:chromeOptions": {"args": arguments},
                    "goog:loggingPrefs": {"browser": "ALL"},
                }
            }
        }
        self.base = f"{driver}/session/{self.call('POST', '/session', wanted)['sessionId']}"

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.base + path, data, {"Content-Type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)["value"]

    def find(self, selector):
        return [
            element[ELEMENT]
            for element in self.call("POST", "/elements", {"using": "css selector", "value": selector})
        ]

    def text(self, selector):
        # In one step: the page may write an answer anew between finding an element and reading it.
        return self.run(
            "return [...document.querySelectorAll(arguments[0])].map((one) => one.innerText).join('\\n')",
            selector,
        )

    def type(self, selector, text):
        (element,) = self.find(selector)
        self.call("POST", f"/element/{element}/clear", {})
        self.call("POST", f"/element/{element}/value", {"text": text})

    def press(self, selector):
        (element,) = self.find(selector)
        self.call("POST", f"/element/{element}/click", {})

    def run(self, script, *given):
        return self.call("POST", "/execute/sync", {"script": script, "args": given})

    def size(self, width, height):
        self.call("POST", "/window/rect", {"width": width, "height": height})

    def keyed(self, key):
        """Presses a key, wherever the focus is."""
        actions = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self.call("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def sound(self, axe):
        """Breaks no rule of axe-core, and nothing is wider than the screen, on a desk and on a phone."""
        for width, height in ((1280, 900), (500, 740), (360, 740)):
            self.size(width, height)
            inner, scroll = self.run("return [window.innerWidth, document.documentElement.scrollWidth]")
            assert scroll <= inner, f"{scroll} pixels in a window of {inner}"
            self.run(axe)
            found = self.call(
                "POST",
                "/execute/async",
                {
                    "args": [],
                    "script": "const done = arguments[0];"
                    "axe.run().then((found) => done(found.violations), (error) => done([{id: String(error), nodes: []}]))",
                },
            )
            broken = [
                f"{rule['id']}: {rule.get('help')}: {[node['html'][:200] for node in rule['nodes'][:3]]}"
                for rule in found
            ]
            assert not broken, f"at {width} pixels:\n" + "\n".join(broken)
        self.size(1280, 900)

    def until(self, what, wanted):
        end = time.monotonic() + 60
        while not wanted():
            if time.monotonic() > end:
                raise AssertionError(f"never: {what}; the page says\n{self.text('body')}")
            time.sleep(0.05)


def enter(page, browser, key):
    """Without a key nothing is seen. Given to the browser once, as a password, it does for the page and for what the page asks for."""
    browser.call("POST", "/url", {"url": page})
    assert not browser.find("#text"), browser.text("body")
    browser.call("POST", "/url", {"url": page.replace("://", f"://browser:{key}@")})
    browser.call("POST", "/url", {"url": page})


def locked_out(browser, keys):
    """The key is exchanged while the page is open."""
    with open(keys, "w", encoding="utf-8") as file:
        file.write("another\n")
    browser.type("#text", "Fine.")

    def refused():
        browser.press("#ask")
        time.sleep(0.2)
        return "unauthorized" in browser.text("#error")

    browser.until("the refusal of the old key", refused)
    assert (
        "401" in browser.text("#error")
        and "API key" in browser.text("#error")
        and browser.text("#answer") == ""
    ), browser.text("body")


def check(page, browser, axe):
    # The card.
    browser.until("the model's card", lambda: "fingerprint" in browser.text("#card"))
    card = browser.text("#card")
    assert "384 dimensions" in card and "domain (4 labels)" in card, card
    # A sentence, typed and sent.
    browser.type("#text", "Great phone, would buy again!")
    browser.press("#ask")
    browser.until("an answer", lambda: browser.find("#latency"))
    answer = browser.text("#answer")
    assert "domain: product_review" in answer and "sentiment: positive" in answer, answer
    assert len(browser.find("#answer .row")) == 7, "a bar for each label of both tasks"
    widths = browser.run(
        "return [...document.querySelectorAll('#answer .fill')].map(bar => parseFloat(bar.style.width))"
    )
    assert abs(sum(widths[:4]) - 100) < 0.1 and abs(sum(widths[4:]) - 100) < 0.1, widths
    assert widths[:4] == sorted(widths[:4], reverse=True), widths
    assert " ms" in browser.text("#latency") and "9 tokens" in browser.text("#latency"), browser.text(
        "#latency"
    )
    screenshot = base64.b64decode(browser.call("GET", "/screenshot"))
    # By keyboard: from the text to the button, and Enter.
    browser.type("#text", "The plot drags and the jokes fall flat.\ue004\ue007")
    browser.until("an answer by keyboard", lambda: "sentiment: negative" in browser.text("#answer"))
    # A refusal is shown, the old answer is not, and the next sentence works.
    browser.run("document.getElementById('text').value = 'word '.repeat(400)")
    browser.press("#ask")
    browser.until("the refusal", lambda: "text_too_long" in browser.text("#error"))
    assert "256 tokens" in browser.text("#error") and browser.text("#answer") == "", browser.text("body")
    assert browser.run("return document.getElementById('error').getAttribute('role')") == "alert"
    browser.type("#text", "Fine.")
    browser.press("#ask")
    browser.until("an answer behind it", lambda: browser.find("#latency"))
    assert browser.text("#error") == ""
    # Markup is text.
    browser.type("#text", "<img src=x onerror=alert(1)>")
    browser.press("#ask")
    browser.until("an answer", lambda: browser.find("#latency"))
    browser.sound(axe)
    # An example is a click away.
    browser.press("#example")
    browser.until("the example's answer", lambda: "product_review" in browser.text("#answer h2"))
    assert browser.run("return document.getElementById('text').value").startswith("Great phone"), (
        browser.text("body")
    )
    # For a screen reader: everything has a name, and the page a language.
    named = browser.run(
        "return [document.documentElement.lang, document.querySelector('label').control.id,"
        " document.getElementById('answer').getAttribute('aria-live'), document.querySelectorAll('main').length,"
        " document.querySelectorAll('h1').length]"
    )
    assert named == ["en", "text", "polite", 1, 1], named
    # Nothing was fetched from elsewhere, and the console has no complaint but the refusals.
    fetched = browser.run("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert all(name.startswith(page) for name in fetched), fetched
    log = browser.call("POST", "/se/log", {"type": "browser"})
    complaints = [
        entry["message"]
        for entry in log
        if entry["level"] == "SEVERE"
        and not any(known in entry["message"] for known in ("401", "422", "favicon"))
    ]
    assert not complaints, complaints
    return screenshot


def check_kinds(page, browser, axe):
    """A label, several labels with more than are shown at once, and a number with its interval."""
    browser.until("the model's card", lambda: "fingerprint" in browser.text("#card"))
    card = browser.text("#card")
    assert "domain (4 labels), tags (any of 8 labels), words (a number)" in card, card
    browser.type("#text", "Great phone, would buy again!")
    browser.press("#ask")
    browser.until("an answer", lambda: browser.find("#latency"))
    answer = browser.text("#answer")
    assert "domain: product_review" in answer, answer
    tags = next(line for line in answer.splitlines() if line.startswith("tags: "))
    assert "positive" in tags and "product_review" in tags and "negative" not in tags, answer
    best = browser.run(
        "return [...document.querySelectorAll('#answer .best span:first-child')].map(label => label.textContent)"
    )
    assert best[0] == "product_review" and sorted(best[1:]) == sorted(
        tags.removeprefix("tags: ").split(", ")
    ), best
    low, high = browser.run(
        "return document.getElementById('answer').textContent.match(/between (-?[\\d.]+) and (-?[\\d.]+) for 90 %/).slice(1).map(parseFloat)"
    )
    number = float(
        next(line for line in answer.splitlines() if line.startswith("words: ")).removeprefix("words: ")
    )
    assert low < number < high, answer
    # Five labels are seen, the others after a click.
    hidden = "return [...document.querySelectorAll('#answer details .row')].filter(row => row.checkVisibility()).length"
    assert len(browser.find("#answer details .row")) == 3 and browser.run(hidden) == 0, browser.text(
        "#answer"
    )
    assert browser.text("#answer summary") == "all 8 labels", browser.text("#answer summary")
    browser.press("#answer summary")
    assert browser.run(hidden) == 3
    browser.sound(axe)
    return base64.b64decode(browser.call("GET", "/screenshot"))


def check_many(page, browser, axe):
    """150 labels: five, and the others after a click, all of them in their order."""
    browser.until("the model's card", lambda: "fingerprint" in browser.text("#card"))
    assert "intent (150 labels)" in browser.text("#card"), browser.text("#card")
    browser.type("#text", "please do thing 7 for me")
    browser.press("#ask")
    browser.until("an answer", lambda: browser.find("#latency"))
    assert browser.text("#answer summary") == "all 150 labels" and len(browser.find("#answer .row")) == 150
    browser.press("#answer summary")
    browser.sound(axe)
    return base64.b64decode(browser.call("GET", "/screenshot"))


def check_reports(folder, browser, axe):
    """Every page of a folder: sound, its tables and what is folded reached by keyboard."""
    pages = sorted(Path(folder).glob("*.html"))
    assert pages, f"there is no page in {folder}"
    for page in pages:
        browser.call("POST", "/url", {"url": page.resolve().as_uri()})
        browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        browser.sound(axe)
        browser.run(
            "document.querySelectorAll('details').forEach((one) => { one.open = false; }); document.body.focus()"
        )
        # From the top by the key for it: everything that scrolls or unfolds is met, and Enter unfolds.
        wanted = browser.run(
            "return document.querySelectorAll('summary').length + [...document.querySelectorAll('.scroll')]"
            ".filter((one) => one.checkVisibility()).length"
        )
        met = set()
        for _ in range(wanted):
            browser.keyed("\ue004")
            met.add(
                browser.run(
                    "const at = document.activeElement; return at.getAttribute('aria-label') || at.textContent"
                )
            )
        assert len(met) == wanted, f"{page.name}: {len(met)} of {wanted} were met: {met}"
        if browser.find("summary"):
            browser.run("document.querySelector('summary').focus()")
            browser.keyed("\ue007")
            assert browser.run("return document.querySelector('details').open"), page.name
        names = browser.run(
            "return [...document.querySelectorAll('svg[role=img]')].map((one) => one.getAttribute('aria-label'))"
        )
        assert all(names) and len(set(names)) == len(names), (
            f"{page.name}: pictures without a name of their own: {names}"
        )
    return base64.b64decode(browser.call("GET", "/screenshot"))


def main():
    part, page, screenshot, keys, axe = sys.argv[1:]
    axe = Path(axe).read_text(encoding="utf-8")
    if part != "reports":
        page = page.rstrip("/") + "/"
        key = Path(keys).read_text(encoding="utf-8").strip()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=5)
                break
            except OSError:
                time.sleep(0.1)
        browser = Browser(f"http://127.0.0.1:{port}")
        try:
            if part == "reports":
                picture = check_reports(page, browser, axe)
            else:
                enter(page, browser, key)
                picture = {"labels": check, "kinds": check_kinds, "many": check_many}[part](
                    page, browser, axe
                )
                locked_out(browser, keys)
        finally:
            browser.call("DELETE", "")
    finally:
        driver.terminate()
        driver.wait()
    with open(screenshot, "wb") as file:
        file.write(picture)
    print(f"the page ({part}) works in Chromium; {screenshot}")


main()
