"""`gpulet top` on a terminal: what it draws, its keys, new sizes, servers that come and go, and that the terminal is given back."""
import http.server
import json
import os
import signal
import threading
import unittest
import urllib.parse

from harness import GPULET, Load, Repository, Server, identity_body, main, run
from terminal import Terminal

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "top")


def golden(name):
    with open(os.path.join(GOLDEN, name), encoding="utf-8") as f:
        return f.read()


class Stub:
    """A server that says what the test wants it to say; port 0 the first time, the same one after stop and start."""

    def __init__(self):
        self.port = 0
        self.step = 0
        self.asked = []
        self.status = json.loads(golden("busy.json"))
        self.events = json.loads(golden("events.json"))["events"]
        self.broken = None
        self.closes = False
        self.start()

    def start(self):
        stub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                code, body = stub.answer(self.path)
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                self.close_connection |= stub.closes

            def log_message(self, *_):
                pass

        class Listener(http.server.ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, *_):  # top leaves without a word
                pass

        self.connections = []
        self.listener = Listener(("127.0.0.1", self.port), Handler)
        self.port = self.listener.server_address[1]
        self.url = "http://127.0.0.1:%d" % self.port
        self.thread = threading.Thread(target=self.listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def answer(self, path):
        self.asked.append(path)
        if self.broken is not None:
            return self.broken
        address = urllib.parse.urlsplit(path)
        if address.path == "/gpulet/v1/status":
            self.step += 1
            self.status["uptime_s"] += 1
            for m in self.status["models"]:
                if m["model"] == "lenet" and m["version"] == "3":
                    m["offered"] += 100
                    m["in_time"] += 97
                    m["rejected"] += 3
            return 200, json.dumps(self.status).encode()
        since = int(urllib.parse.parse_qs(address.query)["since"][0])
        new = [e for e in self.events if e["seq"] >= since]
        return 200, json.dumps({"events": new, "next": self.events[-1]["seq"] + 1}).encode()

    def stop(self):
        self.listener.shutdown()
        self.listener.server_close()
        self.thread.join()


class Top(unittest.TestCase):
    def open(self, url, *words, **options):
        t = Terminal([GPULET, "top", "--url", url, "--interval-s", "0.05"] + list(words), **options)
        self.addCleanup(t.close)
        return t

    def leave(self, t):
        t.press("q")
        self.assertEqual(t.wait_exit(), 0)
        self.assertTrue(t.restored(), t.picture.lines())


class WithStub(Top):
    def setUp(self):
        self.stub = Stub()
        self.addCleanup(lambda: self.stub.stop())

    def test_everything_is_on_the_screen(self):
        for term, coloured in (("xterm-256color", True), ("xterm", True), ("vt100", False)):
            t = self.open(self.stub.url, rows=44, columns=140, term=term)
            t.wait_for_text("97.00%")  # lenet's, between two looks
            t.wait_for_text("worker lost: mig0-2: signal 9")
            lines = t.picture.lines()
            text = "\n".join(lines)
            expected = golden("wide.txt").split("\n")
            for line in expected[3:5] + expected[6:13]:  # verdict, transition, devices
                self.assertIn(line, lines, text)
            self.assertEqual(t.picture.coloured, coloured)
            self.assertTrue(t.picture.alternate or term == "vt100")
            self.leave(t)

    def test_without_colours_when_asked(self):
        t = self.open(self.stub.url, NO_COLOR="1")
        t.wait_for_text("lenet")
        self.assertFalse(t.picture.coloured)
        self.leave(t)

    def test_events_are_asked_for_once(self):
        t = self.open(self.stub.url, rows=44, columns=140)
        t.wait_for_text("worker lost")
        self.stub.events.append({"seq": 5, "time_ms": 1764144100000, "kind": "replan", "reason": "period", "outcome": "reached"})
        t.wait_for_text("replan (period) reached")
        t.wait_for(lambda lines: sum("worker lost" in line for line in lines) == 1, "each event once")
        self.assertIn("/gpulet/v1/events?since=5", self.stub.asked)
        self.leave(t)

    def test_another_server_has_other_events(self):
        t = self.open(self.stub.url, rows=44, columns=140)
        t.wait_for_text("worker lost")
        self.stub.events = [{"seq": 1, "time_ms": 1764144200000, "kind": "plan", "reason": "start", "outcome": "kept"}]
        self.stub.status["uptime_s"] = 0
        t.wait_for_text("plan (start) kept")
        t.wait_for(lambda lines: not any("worker lost" in line for line in lines), "the old events gone")
        self.leave(t)

    def test_keys(self):
        t = self.open(self.stub.url)
        t.wait_for_text("worker lost")  # all is there
        t.press("s")
        t.wait_for_text("s sort (by name)")
        t.wait_for(lambda lines: "resnet50  " in "".join(lines).partition("a-model")[2], "sorted by name")
        t.press("h")
        t.wait_for_text("leave")
        t.press("h")
        t.wait_for_text("resnet50 ")
        t.press("\x1b[6~")  # page down
        t.wait_for_text("2-9/9")
        t.press("\x1bOH")  # home
        t.wait_for_text("1-8/9")
        t.press("\t\t")  # to the devices
        t.wait_for_text("devices 1-4 of 6 <")
        t.press("\x1bOB")  # down
        t.wait_for_text("devices 2-5 of 6 <")
        t.press("\x0c")
        t.wait_for_text("devices 2-5 of 6 <")
        self.leave(t)

    def test_a_pause_asks_nothing(self):
        t = self.open(self.stub.url)
        t.wait_for_text("lenet")
        t.press("p")
        t.wait_for_text("paused")
        t.press("h")  # drawn after the pause began: no question is under way any more once it shows
        t.wait_for_text("leave")
        step = self.stub.step
        for _ in range(6):
            t.press("h")
            t.read(0.1)
        self.assertLessEqual(self.stub.step, step + 1)
        t.press("p")
        t.wait_for(lambda _: self.stub.step > step + 2, "asking again")
        self.leave(t)

    def test_the_picture_follows_the_size(self):
        t = self.open(self.stub.url)
        t.wait_for_text("97.00%")
        t.resize(44, 140)
        t.wait_for_text("worker lost: mig0-2")
        expected = golden("wide.txt").split("\n")
        t.wait_for(lambda lines: all(line in lines for line in expected[6:13]), "as at this size from the start")
        t.resize(10, 40)
        expected = golden("small.txt").split("\n")
        t.wait_for(lambda lines: all(line in lines for line in expected[2:4]), "as at this size from the start")
        for rows, columns in ((2, 3), (1, 1), (3, 200), (24, 80)):
            t.resize(rows, columns)
            t.read(0.1)
        t.wait_for_text("s sort (as listed)")
        self.leave(t)

    def test_a_connection_that_ends_is_made_anew(self):
        self.stub.closes = True  # after each answer, without having said so
        t = self.open(self.stub.url)
        t.wait_for_text("worker lost")
        t.wait_for(lambda _: self.stub.step > 8, "some looks")
        self.assertNotIn("no answer", t.picture.text)
        self.leave(t)

    def test_only_ascii(self):
        t = self.open(self.stub.url, "--ascii")
        t.wait_for_text("lenet")
        self.assertTrue(t.picture.text.isascii(), t.picture.text)
        self.leave(t)

    def test_signals_leave_too(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            t = self.open(self.stub.url)
            t.wait_for_text("lenet")
            os.kill(t.pid, number)
            self.assertEqual(t.wait_exit(), 0)
            self.assertTrue(t.restored())

    def test_what_the_server_says_wrong_is_shown(self):
        t = self.open(self.stub.url, rows=24, columns=120)
        t.wait_for_text("lenet")
        for broken, expected in (((200, b"{]"), "status: no JSON"), ((503, b"busy"), "the server answers 503"),
                                 ((200, b'{"ready":1}'), "status.ready: expected true or false")):
            self.stub.broken = broken
            t.wait_for_text(expected)
            t.wait_for_text("lenet")  # what was known stays
        self.stub.broken = None
        t.wait_for(lambda lines: not any("no answer" in line for line in lines), "well again")
        self.leave(t)

    def test_once(self):
        code, out, err = run(GPULET, "top", "--url", self.stub.url, "--once", "--interval-s", "0.05",
                env=dict(os.environ, COLUMNS="140", LC_ALL="C.UTF-8"))
        self.assertEqual(code, 0, err)
        lines = out.split("\n")
        expected = golden("wide.txt").split("\n")
        for line in expected[3:5] + expected[6:13]:
            self.assertIn(line, lines)
        self.assertIn("97.00%", out)
        self.assertIn("worker lost: mig0-2: signal 9", out)
        self.assertTrue(lines[-2].strip() and lines[-1] == "", "nothing behind the last row")


class WithServer(Top):
    def serve(self, **options):
        server = Server(self.repository, **options)
        self.addCleanup(server.kill)
        return server

    def setUp(self):
        self.repository = Repository()
        self.addCleanup(self.repository.close)
        self.repository.add("identity")
        self.repository.add("second")
        self.server = self.serve()

    def test_a_server_under_load(self):
        def ask(_thread, _number, client):
            return str(client.request("POST", "/v2/models/identity/infer", identity_body()).status)
        load = Load(self.server.port, 2, ask)
        self.addCleanup(load.stop_event.set)
        t = self.open("http://127.0.0.1:%d" % self.server.port)
        t.wait_for_text("identity")
        t.wait_for_text("fake 0")
        t.wait_for(lambda lines: any("requests/s" in line and not line.startswith("0.0 ") for line in lines), "the load")
        t.wait_for_text("100%")
        load.stop()
        self.leave(t)
        self.server.stop()

    def test_a_server_that_goes_and_comes_back(self):
        port = self.server.port
        t = self.open("http://127.0.0.1:%d" % port)
        t.wait_for_text("identity")
        self.server.stop()
        t.wait_for_text("no answer for")
        t.wait_for_text("identity")  # what was known stays
        self.server = self.serve(http_port=str(port))
        t.wait_for(lambda lines: not any("no answer" in line for line in lines), "back again")
        self.server.process.kill()
        t.wait_for_text("no answer for")
        self.leave(t)

    def test_it_may_come_before_the_server(self):
        port = self.server.port
        self.server.stop()
        t = self.open("http://127.0.0.1:%d" % port)
        t.wait_for_text("no answer for")
        self.server = self.serve(http_port=str(port))
        t.wait_for_text("identity")
        self.leave(t)
        self.server.stop()


class Refusals(unittest.TestCase):
    def test_no_terminal(self):
        code, _, err = run(GPULET, "top")
        self.assertEqual(code, 2)
        self.assertIn("--once", err)

    def test_a_terminal_that_cannot_be_drawn_on(self):
        t = Terminal([GPULET, "top"], term="no-such-terminal")
        self.addCleanup(t.close)
        self.assertEqual(t.wait_exit(), 1)
        self.assertIn("no-such-terminal", "".join(t.picture.lines()))

    def test_nobody_there(self):
        stub = Stub()
        stub.stop()
        code, out, err = run(GPULET, "top", "--once", "--url", stub.url)
        self.assertEqual(code, 1)
        self.assertIn("refused", err)
        self.assertEqual(out, "")

    def test_bad_options(self):
        for words in (["--interval-s", "0"], ["--interval-s", "x"], ["--nonsense"], ["word"]):
            self.assertEqual(run(GPULET, "top", "--once", *words)[0], 2)
        self.assertEqual(run(GPULET, "top", "--once", "--url", "ftp://x")[0], 2)


if __name__ == "__main__":
    main()
