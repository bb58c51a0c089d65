"""What is known of a model: measured once, it is known again in another place, after a break, and when it is loaded; another file
under its name is measured anew; and who never has a pause is measured between requests."""
import os
import re
import shutil
import signal
import time
import unittest

from harness import GPULET, Load, Repository, Server, half_sent, identity_body, main, run, script, skip, wait_for

POINT = re.compile(r"event=measured model=(\S+) units=(\d+) batch=(\d+) .*beside=(\d)")


class Case(unittest.TestCase):
    def setUp(self):
        self.repository = Repository()
        self.addCleanup(self.repository.close)
        self.store = self.repository.join(".files", "store.db")
        os.makedirs(os.path.dirname(self.store))

    def serve(self, path=None, **options):
        settings = {"calibrate": "true", "calibrate_seconds": 0.25, "batch_max": 4, "fake_devices": "fake:2:1",
                    "store": self.store}
        settings.update(options)
        server = Server(path or self.repository, **settings)
        self.addCleanup(server.kill)
        return server

    def points(self, server):
        """[(model, units, batch, beside)] in the order of their measuring."""
        return [(m, int(u), int(b), int(s)) for m, u, b, s in POINT.findall(server.log())]

    def measured(self, server):
        wait_for(lambda: "event=calibration_end" in server.log(), "measured")
        wait_for(lambda: server.status()["planner"] != "provisional", "planned anew")

    def stop(self, server):
        """What it measured."""
        server.note_workers()
        server.process.send_signal(signal.SIGTERM)
        server.wait_exit()
        points = self.points(server)
        server.stop()
        return points

    def measure_all(self, **options):
        server = self.serve(**options)
        self.measured(server)
        self.assertTrue(self.points(server))
        self.stop(server)


class Known(Case):
    def load(self, server, model):
        r = server.post("/v2/repository/models/%s/load" % model)
        self.assertEqual(r.status, 200, r)

    def move(self, model):
        """Out of the repository, and back with what it returns."""
        away = self.repository.join(".files", model)
        os.rename(self.repository.join(model), away)
        return lambda: os.rename(away, self.repository.join(model))

    def test_a_copy_of_a_file_is_known_by_what_is_in_it(self):
        self.repository.add("a", latency_ms=1).add("b", latency_ms=2, latency_ms_per_item=0.5)
        self.measure_all()
        elsewhere = Repository()
        self.addCleanup(elsewhere.close)
        shutil.copytree(self.repository.join("b"), elsewhere.join("renamed"))
        server = self.serve(elsewhere.path)
        wait_for(lambda: "event=profile_from_store model=renamed whole=1" in server.log(), "known again")
        wait_for(lambda: server.status()["planner"] != "provisional", "planned anew")
        self.assertEqual(server.infer("renamed", identity_body()).status, 200)
        self.assertNotIn("event=calibration_begin", server.log())
        self.stop(server)
        server = self.serve(elsewhere.path)
        self.assertNotEqual(server.status()["planner"], "provisional", "from now on at once")
        self.stop(server)

    def profile(self, *words, device="fake:2:1"):
        code, _, err = run(GPULET, "profile", "--model-repository", self.repository.path, "--engine", "fake", "--device", "fake",
                           "--fake-devices", device, "--batch-max", "4", "--store", self.store, "--out", self.repository.join(".files", "p.csv"),
                           "--seconds", "0.5", *words)
        self.assertEqual(code, 0, err)

    def test_it_is_planned_with_however_early_it_is_known(self):
        self.repository.add("a", latency_ms=1, load_ms=300)
        self.measure_all()
        elsewhere = Repository()
        self.addCleanup(elsewhere.close)
        shutil.copytree(self.repository.join("a"), elsewhere.join("a"))
        server = self.serve(elsewhere.path, follow="false")  # rates would ask for a plan sooner or later
        wait_for(lambda: server.status()["planner"] != "provisional", "planned anew")
        self.assertEqual(self.stop(server), [])

    def test_what_the_command_left_out_is_measured(self):
        self.repository.add("a", latency_ms=1, config="max_batch_size: 4\n")
        self.profile("--sizes", "1,4", device="fake:4:1")
        server = self.serve(fake_devices="fake:4:1")
        wait_for(lambda: "event=calibration_end" in server.log(), "measured")
        self.assertEqual({p[1] for p in self.stop(server)}, {2, 3})
        server = self.serve(fake_devices="fake:4:1")
        time.sleep(0.5)
        self.assertNotIn("event=calibration_begin", server.log(), "all is known")
        self.stop(server)

    def test_what_another_configuration_adds_is_measured(self):
        self.repository.add("a", latency_ms=1, config="max_batch_size: 1\n")
        self.measure_all()
        self.repository.write("a/config.pbtxt", "max_batch_size: 4\n")
        server = self.serve()
        wait_for(lambda: "event=calibration_end" in server.log(), "measured")
        self.assertEqual({p[2] for p in self.stop(server)}, {2, 4})

    def test_what_is_measured_with_other_shapes_is_measured_anew(self):
        config = 'model_warmup { inputs { key: "IN" value { dims: %d } } }\n'
        self.repository.add("a", latency_ms=1, inputs=("IN:UINT8:-1x-1",), outputs=("OUT:UINT8:-1x-1",), config=config % 3)
        self.measure_all()
        server = self.serve()
        self.assertNotEqual(server.status()["planner"], "provisional", "it is known")
        for dims, measured in ((5, True), (3, False)):
            before = len(self.points(server))
            self.repository.write("a/config.pbtxt", config % dims)
            self.load(server, "a")
            if measured:
                wait_for(lambda: "event=calibration_end" in server.log(), "measured")
            else:
                wait_for(lambda: "event=profile_from_store model=a whole=1" in server.log().split("event=calibration_end")[1], "known again")
            self.assertEqual(len(self.points(server)) > before, measured)
        self.stop(server)

    def test_another_file_while_the_old_one_is_measured(self):
        self.repository.add("a", latency_ms=30)
        server = self.serve(calibrate_seconds=2)
        wait_for(lambda: self.points(server), "measuring")
        path = self.repository.write(".files/new", script(latency_ms=60))
        os.rename(path, self.repository.join("a", "1", "model.onnx"))
        self.load(server, "a")
        wait_for(lambda: server.status()["planner"] != "provisional", "planned anew")
        new = server.log().split("event=model_replaced", 1)[1]
        times = [float(t) for t in re.findall(r"event=measured model=a units=\d+ batch=\d+ p50_ms=([0-9.]+)", new)]
        self.assertGreaterEqual(min(times[-2:]), 60, times)
        self.assertEqual({int(u) for u in re.findall(r"event=measured model=a units=(\d+)", new)}, {1, 2})
        self.stop(server)

    def test_what_the_command_measured_is_known_of_copies_too(self):
        self.repository.add("a", latency_ms=1)
        self.profile()
        elsewhere = Repository()
        self.addCleanup(elsewhere.close)
        shutil.copytree(self.repository.join("a"), elsewhere.join("a"))
        server = self.serve(elsewhere.path)
        wait_for(lambda: server.status()["planner"] != "provisional", "planned anew")
        self.assertEqual(self.points(server), [])
        self.stop(server)

    def test_a_model_that_is_loaded_is_looked_up(self):
        self.repository.add("a", latency_ms=1).add("b", latency_ms=2)
        self.measure_all()
        back = self.move("b")
        server = self.serve()
        back()
        begin = time.monotonic()
        self.load(server, "b")
        if time.monotonic() - begin >= 0.5:  # so long a plan waits for what the store says, no longer
            wait_for(lambda: server.status()["planner"] != "running", "planned anew")
        self.assertNotEqual(server.status()["planner"], "running", "it is planned as one that is known")
        self.assertIn("event=profile_from_store model=b whole=1", server.log())
        self.assertEqual(server.infer("b", identity_body()).status, 200)
        self.assertEqual(self.points(server), [])
        self.stop(server)

    def test_a_model_that_is_new_is_measured_after_it_is_loaded(self):
        self.repository.add("a", latency_ms=1)
        self.measure_all()
        server = self.serve()
        self.repository.add("b", latency_ms=3)
        self.load(server, "b")
        wait_for(lambda: "event=calibration_end" in server.log(), "measured")
        self.assertEqual({p[0] for p in self.points(server)}, {"b"})
        self.stop(server)

    def test_measuring_that_was_broken_off_goes_on(self):
        self.repository.add("a", latency_ms=15).add("b", latency_ms=15, latency_ms_per_item=1)
        server = self.serve(calibrate_seconds=1)
        wait_for(lambda: len(self.points(server)) >= 3, "some points")
        first = self.stop(server)
        server = self.serve(calibrate_seconds=1)
        self.measured(server)
        second = self.stop(server)
        # A point is told before it is stored, so the last one may be lost.
        self.assertEqual(set(first[:-1]) & set(second), set(), "measured again")
        for model in ("a", "b"):
            sizes = {p[1] for p in first + second if p[0] == model}
            self.assertEqual(sizes, {1, 2}, model)
        server = self.serve()
        self.assertNotEqual(server.status()["planner"], "provisional")
        time.sleep(0.5)
        self.assertNotIn("event=calibration_begin", server.log(), "all is known")
        self.stop(server)

    def test_another_file_goes_by_what_was_known_until_it_is_measured(self):
        self.repository.add("a", latency_ms=2)
        self.measure_all()
        server = self.serve()
        path = self.repository.write(".files/new", script(latency_ms=20))
        os.rename(path, self.repository.join("a", "1", "model.onnx"))
        self.load(server, "a")
        self.assertNotEqual(server.status()["planner"], "provisional")
        wait_for(lambda: "event=calibration_end" in server.log(), "measured")
        self.assertEqual({p[0] for p in self.points(server)}, {"a"})
        slow = re.findall(r"event=measured model=a units=1 batch=1 p50_ms=([0-9.]+)", server.log())
        self.assertGreaterEqual(float(slow[-1]), 20)
        self.stop(server)
        server = self.serve()
        self.assertNotEqual(server.status()["planner"], "provisional", "the new file is known")
        self.stop(server)


class Busy(Case):
    """Requests that leave no pause."""

    def begin(self, threads=1, pause_s=0.01, latency_ms=2, **options):
        self.repository.add("a", latency_ms=latency_ms, config="max_batch_size: 1\n")
        server = self.serve(**options)
        self.last, self.pause_longest_s = time.monotonic(), 0

        def one(thread, number, client):
            time.sleep(pause_s)
            r = client.request("POST", "/v2/models/a/infer", identity_body(first=float(number)))
            assert r.status == 200, r
            now = time.monotonic()
            self.pause_longest_s, self.last = max(self.pause_longest_s, now - self.last), now
            return "200"
        load = Load(server.port, threads, one)
        self.addCleanup(load.stop)
        wait_for(lambda: load.count() > 20 or load.problems, "requests")
        return server, load

    def measured_without_a_pause(self):
        """Half of the 200 ms that are taken for a pause is doubtful: where the machine stood still for so long it is done again."""
        for number in range(10):
            self.store = self.repository.join(".files", "store-%d.db" % number)
            server, load = self.begin(patience_s=0.5)
            self.measured(server)
            if self.pause_longest_s < 0.1:
                return server, load
            load.stop()
            self.stop(server)
        return skip("the machine stands still too often")

    def test_measured_between_requests_when_patience_ends(self):
        server, load = self.measured_without_a_pause()
        self.assertEqual({p[3] for p in self.points(server)}, {1})
        self.assertIn("rough=1", server.log())
        before = load.count()
        wait_for(lambda: load.count() > before + 20 or load.problems, "served on")
        self.assertEqual(set(load.stop()), {"200"})
        self.stop(server)
        server = self.serve()
        self.assertEqual(server.status()["planner"], "provisional", "what was measured roughly is not kept")
        self.measured(server)
        self.assertEqual({p[3] for p in self.points(server)}, {0})
        self.stop(server)

    def test_where_there_is_always_a_request_it_says_so(self):
        server, load = self.begin(threads=64, pause_s=0, latency_ms=30, patience_s=0.1)
        wait_for(lambda: "event=calibration_waits" in server.log(), "told")
        self.assertEqual(set(load.stop()), {"200"})
        self.measured(server)
        self.assertEqual(server.log().count("event=calibration_waits"), 1)
        self.stop(server)

    def test_nothing_is_measured_while_there_is_patience(self):
        server, load = self.begin(patience_s=1000)
        wait_for(lambda: "event=calibration_begin" in server.log(), "waiting")
        with half_sent(server, "a", identity_body()):
            before = load.count()
            wait_for(lambda: load.count() > before + 20 or load.problems, "one request always open")
            self.assertEqual(self.points(server), [])
            time.sleep(1)
            self.assertEqual(self.points(server), [])
        load.stop()
        self.measured(server)
        self.assertEqual({p[3] for p in self.points(server)}, {0})
        self.stop(server)


if __name__ == "__main__":
    main()
