"""Loading anew: another file, another configuration, other versions, new folders; and what waits meanwhile."""
import json
import os
import signal
import time
import unittest
from random import Random
from threading import Thread

from plans import DEVICES, profile_csv
from harness import Load, Repository, Server, head, identity_body, infer_json, main, parameters, script, tensor, wait_for


class Reload(unittest.TestCase):
    def setUp(self):
        self.repository = Repository()
        self.addCleanup(self.repository.close)

    def serve(self, **options):
        self.server = Server(self.repository, **options)
        self.addCleanup(self.server.kill)
        return self.server

    def change(self, verb, model, status=200, **given):
        body = json.dumps({"parameters": given}).encode() if given else b""
        r = self.server.post("/v2/repository/models/%s/%s" % (model, verb), body)
        self.server.note_workers()
        self.assertEqual(r.status, status, r)
        return r

    def load(self, model, status=200, config=None):
        given = {} if config is None else {"config": config if isinstance(config, str) else json.dumps(config)}
        return self.change("load", model, status, **given)

    def replace(self, model, text, version=1):
        """Another file, as an editor or a copy makes it."""
        path = self.repository.write("%s/.new" % model, text)
        os.makedirs(self.repository.join(model, str(version)), exist_ok=True)
        os.rename(path, self.repository.join(model, str(version), "model.onnx"))

    def width(self, model, version=None):
        path = "/v2/models/%s%s/infer" % (model, "" if version is None else "/versions/%d" % version)
        r = self.server.post(path, identity_body())
        return len(r.outputs()["OUTPUT"][2]) if r.status == 200 else r.status

    def versions(self, model):
        return {int(m["version"]): m["state"] for m in self.server.post("/v2/repository/index").json() if m["name"] == model}

    def config(self, model):
        return self.server.get("/v2/models/%s/config" % model).json()

    def settled(self):
        wait_for(lambda: all(g["state"] == "serving" for g in self.server.status()["gpulets"]), "the old gpu-lets gone")

    def test_a_new_file_is_taken_when_load_is_called(self):
        self.repository.add("a").add("b")
        server = self.serve()
        self.replace("a", script(outputs=("OUTPUT:FP32:-1x4",)))
        self.assertEqual(self.width("a"), 16)
        self.load("a")
        self.assertEqual(self.width("a"), 4)
        self.assertEqual(server.get("/v2/models/a").json()["outputs"][0]["shape"], [-1, 4])
        self.assertEqual(self.width("b"), 16)
        self.settled()
        pids = server.worker_pids()
        self.load("a")
        self.assertEqual(server.worker_pids(), pids, "nothing changed, so nothing was loaded")
        server.stop()

    def test_another_configuration_comes_with_the_request(self):
        self.repository.add("a", config="max_batch_size: 4\n")
        server = self.serve()
        self.load("a", config={"name": "a", "platform": "onnxruntime_onnx", "maxBatchSize": 2,
                               "input": [{"name": "INPUT", "data_type": "TYPE_FP32", "dims": ["16"]}],
                               "parameters": {"slo_ms": {"string_value": "250"}},
                               "dynamic_batching": {"default_queue_policy": {"max_queue_size": 7}}})
        self.assertEqual(int(self.config("a")["max_batch_size"]), 2)
        self.assertEqual(server.model_status("a")["slo_ms"], 250)
        self.assertEqual(self.width("a"), 16)
        self.assertEqual(server.infer("a", infer_json(tensor("INPUT", "FP32", [3, 16], [0] * 48))).status, 400)
        self.load("a")
        self.assertEqual(int(self.config("a")["max_batch_size"]), 4, "without one the file counts again")
        self.assertEqual(server.model_status("a")["slo_ms"], 0)
        server.stop()

    def test_what_is_wrong_changes_nothing(self):
        self.repository.add("a")
        server = self.serve()
        pids = server.worker_pids()
        for config, status, says in (("{", 400, "config"), ("[]", 400, "config"), ({"max_batch_size": "many"}, 400, "max_batch_size"),
                                     ({"no_such": 1}, 400, "no_such"), ({"max_batch_size": [1]}, 400, "max_batch_size"),
                                     ({"input": {"name": "INPUT"}}, 400, "input"), ({"name": "b"}, 400, "name"), ({"backend": "python"}, 400, "python"),
                                     ({"input": [{"name": "INPUT", "dims": [17], "data_type": "TYPE_FP32"}]}, 400, "INPUT"),
                                     ({"parameters": {"slo_ms": {"string_value": "soon"}}}, 400, "slo_ms")):
            self.assertIn(says, self.load("a", status, config).error())
        self.assertIn("config", self.change("load", "a", 400, config={}).error())
        self.assertIn("not supported", self.change("load", "a", 501, **{"config": "{}", "file:1/model.onnx": ""}).error())
        r = server.post("/v2/repository/models/a/load", b'{"parameters":[]}')
        self.assertEqual(r.status, 400)
        for name in ("nobody", "..", "%2e%2e", "a%2f1", ".files"):
            self.assertIn(server.post("/v2/repository/models/%s/load" % name).status, (404,), name)
        self.replace("a", "input=nonsense\n")
        self.assertIn("nonsense", self.load("a", 400).error())
        os.unlink(self.repository.join("a", "1", "model.onnx"))
        self.load("a", 400)
        self.assertEqual(self.width("a"), 16)
        self.assertEqual(server.worker_pids(), pids)
        server.stop()

    def test_a_file_that_does_not_load_leaves_the_old_one_served(self):
        self.repository.add("a", latency_ms=1)
        server = self.serve()

        def one(thread, number, client):
            r = client.request("POST", "/v2/models/a/infer", identity_body())
            assert r.status == 200, r
            return "200"
        load = Load(server.port, 2, one)
        self.replace("a", script(fail_load="the moon is in the wrong house"))
        self.assertIn("moon", self.load("a", 400).error())
        self.assertEqual(self.versions("a"), {1: "READY"})
        before = load.count()
        wait_for(lambda: load.count() > before + 10 or load.problems, "served on")
        self.assertEqual(set(load.stop()), {"200"})
        self.replace("a", script(outputs=("OUTPUT:FP32:-1x8",)))
        self.load("a")
        self.assertEqual(self.width("a"), 8)
        server.stop()

    def test_a_worker_that_starts_later_and_finds_another_file_does_not_serve_it(self):
        sides = ("X:FP32:-1x4", "Y:FP32:-1x8")
        self.repository.add("a", outputs=sides)
        server = self.serve()
        self.repository.write("a/1/model.onnx", script(outputs=sides[::-1]))
        os.kill(server.worker_pids()[0], signal.SIGKILL)
        wait_for(lambda: "event=model_refused" in server.log(), "the other file refused")
        self.assertIn("load it anew", server.log())
        self.assertIn(server.post("/v2/models/a/infer", identity_body()).status, (400, 503))
        self.load("a")
        outputs = server.post("/v2/models/a/infer", identity_body()).outputs()
        self.assertEqual([len(outputs[name][2]) for name in ("X", "Y")], [4, 8])
        server.stop()

    def test_what_waits_is_not_given_to_an_heir_that_lists_outputs_otherwise(self):
        def listed(*names):
            return "".join('output [ { name: "%s" data_type: TYPE_FP32 dims: [ %d ] } ]\n' % (n, {"X": 4, "Y": 8}[n]) for n in names)
        sides = dict(outputs=("X:FP32:-1x4", "Y:FP32:-1x8"), latency_ms=700)
        self.repository.add("a", config="max_batch_size: 1\n" + listed("X", "Y"), **sides)
        server = self.serve()
        body = identity_body(outputs=[{"name": "X"}])
        answers = []

        def one(thread, number, client):
            r = client.request("POST", "/v2/models/a/infer", body)
            answers.append(r)
            return str(r.status)
        load = Load(server.port, 4, one)
        wait_for(lambda: server.model_status("a")["waiting"] >= 2, "some that wait")
        self.repository.write("a/config.pbtxt", "max_batch_size: 1\n" + listed("Y", "X"))
        self.load("a")
        load.stop()
        good = [r for r in answers if r.status == 200]
        self.assertTrue(good)
        for r in answers:
            self.assertIn(r.status, (200, 503), r)
        for r in good:
            self.assertEqual({name: len(o[2]) for name, o in r.outputs().items()}, {"X": 4})
        server.stop()

    def test_no_file_outside_of_the_repository_is_read(self):
        self.repository.add("a")
        self.repository.write(".files/secret.txt", "secret")
        server = self.serve()
        for config, field in (({"default_model_filename": "../../.files/secret.txt"}, "default_model_filename"),
                              ({"default_model_filename": "/etc/passwd"}, "default_model_filename"),
                              ({"output": [{"name": "OUTPUT", "data_type": "TYPE_FP32", "dims": [16],
                                            "label_filename": "../.files/secret.txt"}]}, "label_filename"),
                              ({"output": [{"name": "OUTPUT", "data_type": "TYPE_FP32", "dims": [16],
                                            "label_filename": "/etc/passwd"}]}, "label_filename")):
            self.assertIn(field, self.load("a", 400, config).error())
        self.assertEqual(self.width("a"), 16)
        server.stop()

    def test_versions_follow_the_policy(self):
        self.repository.add("a", versions={1: script(outputs=("OUTPUT:FP32:-1x1",))})
        self.serve()
        self.replace("a", script(outputs=("OUTPUT:FP32:-1x2",)), 2)
        self.load("a")
        self.assertEqual((self.versions("a"), self.width("a"), self.width("a", 1)), ({2: "READY"}, 2, 404))
        for number in (3, 4):
            self.replace("a", script(outputs=("OUTPUT:FP32:-1x%d" % number,)), number)
        self.load("a", config={"version_policy": {"latest": {"num_versions": 2}}})
        self.assertEqual((self.versions("a"), self.width("a"), self.width("a", 3), self.width("a", 2)), ({4: "READY", 3: "READY"}, 4, 3, 404))
        self.load("a", config={"version_policy": {"specific": {"versions": [1, "3"]}}})
        self.assertEqual((self.versions("a"), self.width("a"), self.width("a", 1), self.width("a", 4)), ({3: "READY", 1: "READY"}, 3, 1, 404))
        self.load("a", config={"version_policy": {"all": {}}})
        self.assertEqual(self.versions("a"), {n: "READY" for n in (1, 2, 3, 4)})
        self.assertEqual([self.width("a", n) for n in (1, 2, 3, 4)], [1, 2, 3, 4])
        self.change("unload", "a")
        self.assertEqual(set(self.versions("a").values()), {"UNAVAILABLE"})
        self.load("a")
        self.assertEqual((self.versions("a"), self.width("a")), ({4: "READY"}, 4))
        self.server.stop()

    def test_a_folder_that_came_since(self):
        self.repository.add("a")
        server = self.serve()
        self.load("b", 404)
        self.repository.add("b", config=parameters(slo_ms=100))
        self.load("b")
        self.assertEqual((self.width("b"), self.width("a")), (16, 16))
        self.assertEqual(server.model_status("b")["slo_ms"], 100)
        self.repository.add("c", fail_load="no")
        self.load("c", 400)
        self.assertEqual(self.versions("c"), {})
        self.assertEqual(server.infer("c", identity_body()).status, 404)
        server.stop()

    def test_no_request_is_lost_while_files_change(self):
        """Same tensors: what waits for the old file is given to the new one."""
        self.repository.add("a", latency_ms=3)
        server = self.serve()

        def one(thread, number, client):
            first = float(thread * 10000 + number)
            r = client.request("POST", "/v2/models/a/infer", identity_body(first=first))
            assert r.status == 200, r
            assert r.outputs()["OUTPUT"][2] == [first + i for i in range(16)], r
            return "200"
        load = Load(server.port, 12, one)
        for i in range(6):
            self.replace("a", script(latency_ms=2 + i % 2, seed=i + 1))
            self.load("a")
            before = load.count()
            wait_for(lambda: load.count() > before + 20 or load.problems, "served by the new one")
        self.assertEqual(set(load.stop()), {"200"})
        self.settled()
        self.assertEqual(server.status()["models"][0]["waiting"], 0)
        server.stop()

    def test_what_is_in_flight_when_a_model_is_unloaded_is_answered(self):
        self.repository.add("slow", latency_ms=100, config="max_batch_size: 1\n").add("other")
        server = self.serve()
        body = identity_body()
        clients = [server.client() for _ in range(8)]
        for c in clients:
            c.send(head("POST", "/v2/models/slow/infer", body) + body)
        wait_for(lambda: server.model_status("slow")["offered"] == 8, "all there")
        self.change("unload", "slow")
        statuses = [c.read_response().status for c in clients]
        for c in clients:
            c.close()
        self.assertIn(200, statuses, "what ran was finished")
        self.assertLessEqual(set(statuses), {200, 503})
        server.stop()

    def test_a_model_is_served_and_ready_while_others_are_loaded_beside_it(self):
        """A planner that takes its time: another load is asked for while the plan with the first is being reached."""
        random = Random(7)
        times = {"m%d" % i: random.uniform(2, 9) for i in range(12)}
        for name in times:
            self.repository.add(name)
        workload = "model,rate_rps,slo_ms\n" + "".join("%s,%d,%d\n" % (name, random.randint(10, 60), random.randint(60, 200)) for name in times)
        server = self.serve(profiles=self.repository.write(".files/p.csv", profile_csv(times)), planner="optimal",
                            devices=self.repository.write(".files/d.yaml", DEVICES.replace("fake: 1", "fake: 3")),
                            workload=self.repository.write(".files/w.csv", workload))

        def one(thread, number, client):
            r = client.request("GET", "/v2/models/m0/ready")
            self.assertEqual(r.status, 200, r)
            return str(r.status)
        load = Load(server.port, 1, one)
        for n in range(8):
            for name in ("m0", "m1"):
                self.replace(name, script(load_ms=150, seed=n))
            first = Thread(target=self.load, args=("m0",))
            first.start()
            time.sleep(0.25 + 0.03 * n)
            self.load("m1")
            first.join()
        load.stop()
        self.assertNotIn("event=plan_given_up", server.log())
        server.stop()

    def test_what_waits_and_is_too_large_for_the_new_configuration_is_not_to_be_sent_again(self):
        self.repository.add("a", latency_ms=200, config="max_batch_size: 4\n")
        server = self.serve()
        body = infer_json(tensor("INPUT", "FP32", [4, 16], [float(i) for i in range(64)]))
        clients = [server.client() for _ in range(40)]
        for c in clients:
            c.send(head("POST", "/v2/models/a/infer", body) + body)
        wait_for(lambda: server.model_status("a")["offered"] == 40, "all there")
        self.load("a", config={"max_batch_size": 2})
        responses = [c.read_response() for c in clients]
        for c in clients:
            c.close()
        self.assertEqual({r.status for r in responses}, {200, 413})
        for r in responses:
            if r.status == 413:
                self.assertIn("reason too_large", r.error())
                self.assertIsNone(r.header("retry-after"))
        r = server.post("/v2/models/a/infer", body)
        self.assertEqual((r.status, r.error()), (400, "[request id: <id_unknown>] inference request batch-size must be <= 2 for 'a'"))
        server.stop()

    def test_nothing_piles_up(self):
        self.repository.add("a").add("b")
        server = self.serve()
        fds = None
        for i in range(12):
            self.replace("a", script(outputs=("OUTPUT:FP32:-1x%d" % (i + 1),)))
            self.load("a")
            self.assertEqual(self.width("a"), i + 1)
            self.settled()
            server.wait_quiet()
            fds = fds or server.fds()
        wait_for(lambda: server.fds() <= fds + 1, "no descriptor is left")
        self.assertEqual(len(server.status()["models"]), 2)
        server.stop()

    def test_nothing_is_loaded_any_more_while_draining(self):
        self.repository.add("slow", latency_ms=2000).add("a")
        server = self.serve()
        body = identity_body()
        with server.client() as busy, server.client() as late:
            self.assertEqual(late.request("GET", "/v2/health/live").status, 200)
            late.send(b"POST /v2/repository/models/a/load HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n")
            busy.send(head("POST", "/v2/models/slow/infer", body) + body)
            wait_for(lambda: server.model_status("slow")["offered"] == 1, "running")
            self.replace("a", script(load_ms=20000))
            server.process.send_signal(15)
            wait_for(lambda: "event=drain" in server.log(), "draining")
            late.send(b"{}")
            r = late.read_response()
            self.assertEqual((r.status, r.header("retry-after")), (503, "1"), r)
            self.assertEqual(busy.read_response().status, 200)
        server.stop()

    def test_asked_to_end_while_a_file_is_replaced(self):
        self.repository.add("a")
        server = self.serve()
        self.replace("a", script(load_ms=1500))
        with server.client() as c:
            c.send(head("POST", "/v2/repository/models/a/load"))
            wait_for(lambda: len(server.status()["gpulets"]) == 2, "being loaded")
            server.note_workers()
            server.process.send_signal(15)
            self.assertEqual(server.wait_exit(40), 0)
        server.stop()


if __name__ == "__main__":
    main()
