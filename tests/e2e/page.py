"""The page for a browser: served whole and by itself, asks for nothing from elsewhere, and knows the status as it is."""
import gzip
import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

from harness import Repository, Server, identity_body, main, missing

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "top")

# A document and a server for the script, where there is an interpreter to run it: after a few looks, what the elements show.
BROWSER = """
const elements = {};
class Element {
  constructor(name) { this.name = name; this.children = []; this.style = {}; this.textContent = ""; }
  append(...more) { this.children.push(...more); }
  replaceChildren(...all) { this.children = all; }
  text() { return this.textContent + this.children.map((c) => typeof c === "string" ? c : c.text()).join(" "); }
}
global.document = { getElementById: (id) => elements[id] ??= new Element(id), createElement: (name) => new Element(name) };
const looks = LOOKS;
let turn = 0;
global.fetch = async (path) => {
  const events = path.startsWith("v1/events");
  const body = events ? EVENTS : looks[turn++];
  return { status: events && EVENTS === null ? 404 : 200, ok: true, json: async () => JSON.parse(JSON.stringify(body)) };
};
global.setTimeout = (next) => {
  if (turn < looks.length) { next(); return; }
  const shown = {};
  for (const id in elements) shown[id] = elements[id].text();
  console.log(JSON.stringify(shown));
};
"""


def golden(name):
    with open(os.path.join(GOLDEN, name), encoding="utf-8") as f:
        return json.load(f)


class Page(unittest.TestCase):
    def setUp(self):
        self.repository = Repository()
        self.addCleanup(self.repository.close)
        self.repository.add("identity")
        self.server = Server(self.repository)
        self.addCleanup(self.server.kill)
        self.page = self.server.get("/gpulet/")
        self.script = re.search(r"<script>(.*)</script>", self.page.body.decode(), re.S).group(1)

    def run_script(self, looks, events):
        node = shutil.which("node")
        if node is None:
            missing("no interpreter of JavaScript (node); run: tools/setup check")
        with tempfile.NamedTemporaryFile("w", suffix=".js", encoding="utf-8") as f:
            f.write(BROWSER.replace("LOOKS", json.dumps(looks)).replace("EVENTS", json.dumps(events)) + self.script)
            f.flush()
            done = subprocess.run([node, f.name], capture_output=True, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return json.loads(done.stdout)

    def test_it_is_served(self):
        self.assertEqual(self.page.status, 200)
        self.assertEqual(self.page.header("Content-Type"), "text/html; charset=utf-8")
        self.assertTrue(self.page.body.startswith(b"<!DOCTYPE html>") and self.page.body.endswith(b"</html>\n"))
        self.assertEqual(self.server.get("/").json()["api"]["page"], "/gpulet/")
        head = self.server.client()
        with head as c:
            r = c.request("HEAD", "/gpulet/")
            self.assertEqual((r.status, r.body), (200, b""))
            self.assertEqual(r.header("Content-Type"), "text/html; charset=utf-8")
        self.assertEqual(self.server.post("/gpulet/").status, 405)
        self.assertEqual(self.server.get("/gpulet/x").status, 404)

    def test_it_needs_nothing_from_elsewhere(self):
        text = self.page.body.decode()
        self.assertNotRegex(text, r"(?i)https?:|src\s*=|@import|url\(|innerHTML|document\.write|eval\(")
        self.assertIn("default-src 'none'", text)
        self.assertLess(len(gzip.compress(self.page.body)), 8192)

    def test_it_asks_for_what_the_server_says(self):
        self.assertEqual(self.server.infer("identity", identity_body()).status, 200)
        status = self.server.status()
        newer = golden("busy.json")  # fields that only some servers have
        for word, objects in (("status", [status, newer]), ("model", status["models"] + newer["models"]),
                              ("gpulet", status["gpulets"] + newer["gpulets"]), ("device", status["devices"]),
                              ("share", [m for g in status["gpulets"] for m in g["models"]]),
                              ("transition", [newer["transition"]]), ("event", golden("events.json")["events"])):
            known = set().union(*objects)
            used = set(re.findall(r"\b%s\.([a-z_0-9]+)\b(?!\()" % word, self.script))
            self.assertTrue(used, word)
            self.assertLessEqual(used, known, word)
        old = set(status["models"][0]) | set(status) | set(status["gpulets"][0])
        self.assertLessEqual({"in_time", "late", "rejected", "failed", "offered", "uptime_s", "borrowed_units"}, old)

    def test_it_shows_what_the_server_does(self):
        self.assertEqual(self.server.infer("identity", identity_body()).status, 200)
        first = self.server.status()
        second = self.server.status()
        shown = self.run_script([first, second], None)
        self.assertIn("identity", shown["models"])
        self.assertIn("fake 0", shown["devices"])
        self.assertIn("100 % in time since the start", shown["traffic"])
        self.assertEqual(shown["urgent"], "")

    def test_it_shows_a_busy_server(self):
        shown = self.run_script([golden("before.json"), golden("busy.json")], golden("events.json"))
        self.assertIn("990 requests/s", shown["traffic"])
        self.assertIn("vgg16 lacks 12.5 requests/s", shown["verdict"])
        self.assertIn("1 gpu-lets starting", shown["urgent"])
        for text in ("vgg16 ×2 draining", "lenet:2! ×1", "resnet50 ×16 größer ×4 +1 83 %"):
            self.assertIn(text, shown["devices"])
        for text in ("97 %", "unavailable: model.onnx", "lenet:2"):
            self.assertIn(text, shown["models"])
        self.assertIn("worker lost: mig0-2: signal 9", shown["events"])


if __name__ == "__main__":
    main()
