#!/usr/bin/env python3
"""Checks a page in headless Chromium, using the DevTools protocol over a pipe, without a library.

usage: page_check.py CHROMIUM PAGE DIRECTORY

Renders PAGE at widths of 400 and 1400 pixels, in light and dark mode, and for print. Prints one
line per view, followed by the view's problems: console messages, network requests, elements wider
than the window, insufficient contrast, charts without a size. Exit status 1 means that there were
problems. Writes screenshots to DIRECTORY/WIDTH-SCHEME.png.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
import threading

LIMIT = 120  # seconds for all views, on a busy machine

# Finds elements that are too wide, except in scrolling boxes; text with too little contrast; empty
# charts.
INSPECT = r"""
(() => {
  const notes = [], width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) notes.push(`the page is ${document.documentElement.scrollWidth} wide`);
  const rgb = text => { const n = text.match(/[\d.]+/g).map(Number); return { c: n.slice(0, 3), a: n.length > 3 ? n[3] : 1 }; };
  const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = e => { for (; e; e = e.parentElement) { const b = rgb(getComputedStyle(e).backgroundColor); if (b.a > 0.9) return b.c; }
    return [255, 255, 255]; };
  let texts = 0;
  for (const e of document.body.querySelectorAll('*')) {
    const box = e.getBoundingClientRect();
    if (!e.closest('.wide') && box.width > 0 && (box.right > width + 0.5 || box.left < -0.5))
      notes.push(`<${e.tagName} class=${e.getAttribute('class')}> reaches from ${box.left} to ${box.right}`);
    if (e.tagName === 'svg' && (box.width < 200 || box.height < 60)) notes.push(`a picture of ${box.width}x${box.height}`);
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!own || box.width === 0) continue;
    const style = getComputedStyle(e), svg = e.ownerSVGElement;
    const one = light(rgb(svg ? style.fill : style.color).c), other = light(ground(svg ? svg.parentElement : e));
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    ++texts;
    // WCAG requires a contrast of 4.5.
    if (contrast < 4.5) notes.push(`contrast ${contrast.toFixed(2)} of '${e.textContent.slice(0, 30)}' <${e.tagName} class=${e.getAttribute('class')}>`);
    if (parseFloat(style.fontSize) * (svg ? box.height / Math.max(e.getBBox().height, 1) : 1) < 9)
      notes.push(`'${e.textContent.slice(0, 30)}' is smaller than 9 pixels`);
  }
  return { notes: notes.slice(0, 20), texts, svgs: document.querySelectorAll('svg').length,
    ground: light(ground(document.body)), height: document.documentElement.scrollHeight,
    open: [...document.querySelectorAll('dl')].filter(d => d.getBoundingClientRect().height > 0 && d.checkVisibility({ contentVisibilityAuto: true })).length,
    lists: document.querySelectorAll('dl').length };
})()
"""


class Browser:
    def __init__(self, program, home):
        to_browser, ours_out = os.pipe()
        ours_in, from_browser = os.pipe()
        words = [program, "--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update", "--disable-sync",
                 "--hide-scrollbars", "--remote-debugging-pipe", "--user-data-dir=" + home, "about:blank"]
        if os.geteuid() == 0:
            words.insert(1, "--no-sandbox")  # Chromium refuses to run as root otherwise

        # The browser uses descriptors 3 and 4. A dup2 call must not overwrite the source descriptor
        # of the other call.
        def place():
            os.dup2(to_browser, 13)
            os.dup2(from_browser, 14)
            os.dup2(13, 3)
            os.dup2(14, 4)

        self.process = subprocess.Popen(words, preexec_fn=place, pass_fds=(3, 4), stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self.out, self.input, self.rest, self.number = ours_out, ours_in, b"", 0
        self.events = []

    def message(self):
        while b"\0" not in self.rest:
            data = os.read(self.input, 1 << 20)
            if not data:
                raise EOFError("the browser exited")
            self.rest += data
        text, self.rest = self.rest.split(b"\0", 1)
        return json.loads(text)

    def ask(self, method, session=None, **parameters):
        self.number += 1
        words = {"id": self.number, "method": method, "params": parameters}
        if session:
            words["sessionId"] = session
        os.write(self.out, json.dumps(words).encode() + b"\0")
        while True:
            answer = self.message()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError("%s: %s" % (method, answer["error"]))
                return answer["result"]
            self.events.append(answer)

    def wait_for(self, method):
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self.message())


def open_page(browser, url, width, scheme, media):
    target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
    session = browser.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Runtime", "Log", "Network"):
        browser.ask(domain + ".enable", session)
    browser.ask("Emulation.setDeviceMetricsOverride", session, width=width, height=900, deviceScaleFactor=1,
                mobile=width < 500)
    browser.ask("Emulation.setEmulatedMedia", session, media=media,
                features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.events.clear()
    browser.ask("Page.navigate", session, url=url)
    browser.wait_for("Page.loadEventFired")
    return target, session


def complaints(events, url):
    for event in events:
        parameters = event.get("params", {})
        method = event.get("method")
        if method == "Runtime.consoleAPICalled":
            yield "console: %s" % parameters["args"]
        elif method == "Runtime.exceptionThrown":
            yield "exception: %s" % parameters["exceptionDetails"]["text"]
        elif method == "Log.entryAdded":
            yield "log: %s" % parameters["entry"]["text"]
        elif method == "Network.requestWillBeSent":
            requested = parameters["request"]["url"]
            if requested != url and not requested.startswith("data:"):
                yield "request: %s" % requested


def view(browser, url, folder, width, scheme, media="screen"):
    target, session = open_page(browser, url, width, scheme, media)
    seen = browser.ask("Runtime.evaluate", session, expression=INSPECT, returnByValue=True)
    if "exceptionDetails" in seen:
        raise RuntimeError(seen["exceptionDetails"])
    seen = seen["result"]["value"]
    wrong = list(complaints(browser.events, url)) + seen["notes"]
    if seen["texts"] < 10:
        wrong.append("only %d texts" % seen["texts"])
    is_dark = seen["ground"] < 0.2
    if is_dark != (scheme == "dark" and media == "screen"):
        wrong.append("the background has a luminance of %.2f" % seen["ground"])
    if media == "print" and seen["open"] != seen["lists"]:
        wrong.append("only %d of %d evidence lists are printed" % (seen["open"], seen["lists"]))
    name = "print" if media == "print" else "%d-%s" % (width, scheme)
    shot = browser.ask("Page.captureScreenshot", session, captureBeyondViewport=True,
                       clip={"x": 0, "y": 0, "width": width, "height": seen["height"], "scale": 1})
    with open(os.path.join(folder, name + ".png"), "wb") as file:
        file.write(base64.b64decode(shot["data"]))
    browser.ask("Target.closeTarget", targetId=target)
    print("%s: %d texts, %d pictures, %d high%s" % (name, seen["texts"], seen["svgs"], seen["height"],
                                                    "".join("\n  " + problem for problem in wrong)))
    return not wrong


def main():
    program, page, folder = sys.argv[1:]
    url = "file://" + os.path.abspath(page)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        browser = Browser(program, home)
        alarm = threading.Timer(LIMIT, browser.process.kill)
        alarm.start()
        try:
            good = [view(browser, url, folder, width, scheme) for width in (400, 1400) for scheme in ("light", "dark")]
            good.append(view(browser, url, folder, 800, "dark", "print"))
        finally:
            alarm.cancel()
            browser.process.kill()
            browser.process.wait()
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main()
