"""How it ends: asked to, it answers what it has; killed, it takes its workers along."""
import os
import signal
import unittest

from harness import (Client, Closed, Load, Repository, Server, head, identity_body, is_alive, main, wait_for)


class Drain(unittest.TestCase):
    def serve(self, config=None, args=None, **options):
        self.repository = Repository()
        self.addCleanup(self.repository.close)
        self.repository.add("slow", config=config, **(args or {"latency_ms": 400}))
        self.server = Server(self.repository, **options)
        self.addCleanup(self.server.kill)
        return self.server

    def send_many(self, count):
        clients = []
        for i in range(count):
            body = identity_body(first=float(i), id=str(i))
            c = self.server.client()
            c.send(head("POST", "/v2/models/slow/infer", body) + body)
            clients.append(c)
        wait_for(lambda: self.server.model_status("slow")["offered"] == count, "all requests in")
        return clients

    def assert_busy(self):
        s = self.server.model_status("slow")
        self.assertGreater(s["waiting"] + s["running"], 0, "all was answered before it was asked to end")

    def refused(self):
        try:
            with Client(self.server.port, timeout=5) as c:
                c.send(head("GET", "/v2/health/live"))
                return c.is_closed()
        except OSError:
            return True

    def test_what_is_in_flight_is_answered_and_nobody_new_comes_in(self):
        server = self.serve("max_batch_size: 1\n")
        idle = server.client()
        self.assertEqual(idle.request("GET", "/v2/health/ready").status, 200)
        clients = self.send_many(8)
        server.note_workers()
        self.assert_busy()
        server.process.send_signal(signal.SIGTERM)
        wait_for(self.refused, "new connections refused")
        for i, c in enumerate(clients):
            r = c.read_response()
            self.assertEqual(r.status, 200, r)
            self.assertEqual((r.json()["id"], r.outputs()["OUTPUT"][2][0]), (str(i), float(i)))
            self.assertEqual(r.header("connection"), "close")
            self.assertTrue(c.is_closed())
            c.close()
        self.assertTrue(idle.is_closed())
        idle.close()
        server.stop()

    def test_under_load_every_connection_ends_cleanly(self):
        server = self.serve(args={"latency_ms": 2})

        def one(thread, number, client):
            try:
                r = client.request("POST", "/v2/models/slow/infer", identity_body(first=float(number)))
            except Closed as e:
                assert e.args[0] == b"", "an answer was cut off: %r" % e.args[0]
                raise
            if r.status == 200:
                assert r.outputs()["OUTPUT"][2][0] == float(number)
            else:
                assert r.status == 503, r
            return str(r.status)
        load = Load(server.port, 8, one)
        wait_for(lambda: load.count("200") > 100, "load")
        server.note_workers()
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait_exit(), 0)
        load.stop()
        server.stop()

    def test_a_terminal_that_is_closed_is_a_request_to_end(self):
        server = self.serve("max_batch_size: 1\n")
        clients = self.send_many(4)
        server.note_workers()
        self.assert_busy()
        server.process.send_signal(signal.SIGHUP)
        for c in clients:
            self.assertEqual(c.read_response().status, 200)
            c.close()
        server.stop()

    def test_unless_that_is_ignored(self):
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does; a child inherits it
        try:
            server = self.serve()
        finally:
            signal.signal(signal.SIGHUP, before)
        server.process.send_signal(signal.SIGHUP)
        with server.client() as c:
            self.assertEqual(c.request("POST", "/v2/models/slow/infer", identity_body()).status, 200)
        server.stop()

    def test_a_body_that_is_still_arriving_is_taken(self):
        server = self.serve()
        body = identity_body(id="late")
        with server.client() as c:
            c.send(head("POST", "/v2/models/slow/infer", body) + body[:50])
            wait_for(lambda: server.status()["connections"] >= 2, "connected")
            server.process.send_signal(signal.SIGTERM)
            wait_for(self.refused, "draining")
            try:
                c.send(body[50:])
                r = c.read_response()
                self.assertIn(r.status, (200, 503))
            except (Closed, OSError):
                self.fail("cut off")
        server.stop()

    def send_to_a_model_that_hangs(self):
        """Most of these can never be answered: after a few runs (warming up counts) one lasts for ever."""
        body = identity_body()
        clients = [self.server.client() for _ in range(12)]
        for c in clients:
            c.send(head("POST", "/v2/models/slow/infer", body) + body)
        wait_for(lambda: self.server.model_status("slow")["offered"] == len(clients), "all requests in")
        return clients

    def test_what_lasts_longer_than_the_limit_is_given_up(self):
        server = self.serve("max_batch_size: 1\n", {"latency_ms": 1, "hang_run_every": 8}, drain_limit_s=0.5)
        clients = self.send_to_a_model_that_hangs()
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait_exit(20), 0)
        for c in clients:
            try:
                self.assertIn(c.read_response().status, (200, 503))
            except Closed:
                pass
            c.close()
        server.stop()

    def test_asked_twice_it_ends_at_once(self):
        server = self.serve("max_batch_size: 1\n", {"latency_ms": 1, "hang_run_every": 8})
        clients = self.send_to_a_model_that_hangs()
        server.process.send_signal(signal.SIGINT)
        wait_for(self.refused, "draining")
        server.process.send_signal(signal.SIGINT)
        self.assertEqual(server.wait_exit(20), 0)
        for c in clients:
            c.close()
        server.stop()

    def test_asked_before_it_is_ready(self):
        server = self.serve(args={"load_ms": 20000}, wait=False)
        wait_for(server.note_workers, "a worker started")
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait_exit(15), 0)
        self.assertEqual(server.lines, [])
        server.stop()

    def test_killed_it_takes_its_workers_along(self):
        server = self.serve(args={"latency_ms": 1000})
        clients = self.send_many(3)
        workers = server.note_workers()
        self.assertTrue(workers)
        self.assert_busy()
        server.process.kill()
        self.assertEqual(server.wait_exit(), -signal.SIGKILL)
        wait_for(lambda: not any(is_alive(p) for p in workers), "no worker left", 20)
        for c in clients:
            with self.assertRaises(Closed):
                c.read_response()
            c.close()


def segments(pids):
    """{inode: name} of the shared memory that these processes hold, open or mapped. It has no file system to be left in, only holders."""
    found = {}
    for pid in pids:
        try:
            for fd in os.listdir("/proc/%d/fd" % pid):
                path = "/proc/%d/fd/%s" % (pid, fd)
                name = os.readlink(path)
                if name.startswith("/memfd:"):
                    found[os.stat(path).st_ino] = name
            with open("/proc/%d/maps" % pid, encoding="utf-8", errors="replace") as f:
                for line in f:
                    if "/memfd:" in line:
                        found[int(line.split()[4])] = line.split(None, 5)[5].strip()
        except OSError:
            continue  # it ended meanwhile, or is not ours to look at
    return found


class Segments(unittest.TestCase):
    """Whoever ends, and however: no process is left that holds a segment of this server."""

    def serve(self, model_args, **options):
        # A name that no other server's segments have: they are named after the model.
        self.model = "segment-%d-%s" % (os.getpid(), self.id().rsplit("_", 1)[1])
        self.repository = Repository()
        self.addCleanup(self.repository.close)
        self.repository.add(self.model, **model_args)
        self.server = Server(self.repository, **options)
        self.addCleanup(self.server.kill)
        return self.server

    def note(self):
        """What server and workers hold now."""
        self.held = segments([self.server.pid, *self.server.note_workers()])
        return self.held

    def left(self):
        everybody = segments([int(name) for name in os.listdir("/proc") if name.isdigit()])
        return {ino: name for ino, name in everybody.items() if ino in self.held or self.model in name}

    def nothing_is_left(self):
        try:
            wait_for(lambda: not self.left(), "segments gone", 20)
        except AssertionError:
            self.fail("still held: %s" % self.left())

    def asked(self):
        self.assertEqual(self.server.infer(self.model, identity_body()).status, 200)
        self.note()
        names = " ".join(self.held.values())
        self.assertIn(self.model, names, "the server's own are seen")
        self.assertIn("gpulet-output", names, "the worker's are seen")
        self.assertEqual(self.left(), self.held, "a look at all processes finds them")

    def test_after_the_end(self):
        server = self.serve({"latency_ms": 1})
        self.asked()
        server.stop()
        self.nothing_is_left()

    def test_after_the_server_is_killed(self):
        server = self.serve({"latency_ms": 1})
        self.asked()
        server.process.kill()
        server.wait_exit()
        self.nothing_is_left()

    def test_after_the_server_is_killed_while_a_model_loads(self):
        server = self.serve({"load_ms": 30000}, wait=False)
        wait_for(lambda: any("gpulet-output" in name for name in self.note().values()), "a worker with its segments")
        self.assertEqual(server.lines, [], "it still loads")
        server.process.kill()
        server.wait_exit()
        self.nothing_is_left()


if __name__ == "__main__":
    main()
