"""Models come and go while others are served: unload, load, many at once, and what cannot be loaded."""
import json
import os
import signal
import threading
import unittest

from harness import GPULET, Closed, Load, Repository, Server, head, identity_body, identity_infer, main, parameters, run, wait_for


class Models(unittest.TestCase):
    def serve(self, *models, **options):
        self.repository = Repository()
        self.addCleanup(self.repository.close)
        for name, args in models:
            self.repository.add(name, **args)
        self.server = Server(self.repository, **options)
        self.addCleanup(self.server.kill)
        return self.server

    def change(self, verb, model, body=b"", status=200):
        r = self.server.post("/v2/repository/models/%s/%s" % (model, verb), body)
        self.server.note_workers()
        self.assertEqual(r.status, status, r)
        return r

    def state(self, model):
        index = {m["name"]: m for m in self.server.post("/v2/repository/index").json()}
        return index[model]["state"]

    def check_gone(self, model):
        self.assertEqual(self.state(model), "UNAVAILABLE")
        self.assertIn(self.server.get("/v2/models/%s/ready" % model).status, (400, 404))
        self.assertIn(self.server.infer(model, identity_body()).status, (400, 404, 503))
        ready = self.server.post("/v2/repository/index", b'{"ready":true}').json()
        self.assertNotIn(model, [m["name"] for m in ready])

    def sender(self, model, allowed=("200",)):
        def one(thread, number, client):
            r = client.request("POST", "/v2/models/%s/infer" % model, identity_body(first=float(number)))
            assert str(r.status) in allowed, r
            if r.status == 200:
                assert r.outputs()["OUTPUT"][2][0] == float(number)
            return str(r.status)
        return one

    def test_unload_and_load_again(self):
        server = self.serve(("a", {}), ("b", {}))
        self.change("unload", "a")
        self.check_gone("a")
        identity_infer(server, model="b")
        self.change("unload", "a")
        r = self.change("load", "a")
        self.assertEqual(r.body, b"")
        self.assertEqual(self.state("a"), "READY")
        identity_infer(server, model="a")
        identity_infer(server, model="b")
        self.change("load", "a", b"{}")
        self.assertEqual(server.get("/v2/health/ready").status, 200)
        server.stop()

    def test_wrong_requests(self):
        server = self.serve(("a", {}))
        self.change("load", "nobody", status=404)
        self.change("unload", "nobody", status=404)
        self.change("load", "a", b"[", status=400)
        self.change("load", "a", b"[]", status=400)
        self.change("load", "a", json.dumps({"parameters": {"config": "{}", "file:1/model.onnx": ""}}).encode(), status=501)
        self.change("unload", "a", b'{"parameters":{"unload_dependents":true}}')
        self.assertEqual(server.get("/v2/repository/models/a/load").status, 405)
        server.stop()

    def test_others_are_served_all_the_while(self):
        server = self.serve(("steady", {"latency_ms": 2}), ("guest", {"latency_ms": 1}))
        steady = Load(server.port, 6, self.sender("steady"))
        guests = Load(server.port, 2, self.sender("guest", ("200", "400", "404", "503")))
        for _ in range(4):
            self.change("unload", "guest")
            before = steady.count("200")
            wait_for(lambda: steady.count("200") > before + 10 or steady.problems, "steady served without the guest")
            self.change("load", "guest")
            before = guests.count("200")
            wait_for(lambda: guests.count("200") > before + 5 or guests.problems, "the guest served again")
        counts = steady.stop()
        self.assertEqual(set(counts), {"200"}, "an unrelated model was disturbed")
        self.assertLessEqual(set(guests.stop()), {"200", "400", "404", "503"})
        self.assertEqual(server.metric("gpulet_worker_lost_total"), 0)
        server.stop()

    def test_what_waits_for_a_model_that_is_unloaded_is_answered(self):
        server = self.serve(("slow", {"latency_ms": 100, "config": "max_batch_size: 1\n"}), ("other", {}))
        body = identity_body()
        clients = [server.client() for _ in range(10)]
        for c in clients:
            c.send(head("POST", "/v2/models/slow/infer", body) + body)
        wait_for(lambda: server.model_status("slow")["offered"] == 10, "waiting")
        self.change("unload", "slow")
        for c in clients:
            self.assertIn(c.read_response().status, (200, 400, 404, 503))
            c.close()
        self.check_gone("slow")
        server.stop()

    def test_many_at_once(self):
        names = ["m%d" % i for i in range(6)]
        server = self.serve(*[(n, {"load_ms": 20}) for n in names])
        problems = []

        def toggle(name):
            try:
                with server.client() as c:
                    for verb in ("unload", "load") * 3:
                        r = c.request("POST", "/v2/repository/models/%s/%s" % (name, verb))
                        if r.status != 200:
                            problems.append((name, verb, r))
            except (Closed, OSError, AssertionError) as e:
                problems.append((name, repr(e)))
        threads = [threading.Thread(target=toggle, args=(n,)) for n in names]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(problems, [])
        server.note_workers()
        for n in names:
            self.assertEqual(self.state(n), "READY")
            identity_infer(server, model=n)
        wait_for(lambda: all(g["state"] == "serving" for g in server.status()["gpulets"]), "only serving gpu-lets")
        server.stop()

    def test_all_gone_and_one_back(self):
        server = self.serve(("a", {}), ("b", {}))
        fds = None
        for _ in range(3):
            self.change("unload", "a")
            self.change("unload", "b")
            self.check_gone("a")
            self.check_gone("b")
            self.change("load", "a")
            identity_infer(server, model="a")
            self.change("load", "b")
            identity_infer(server, model="b")
            wait_for(lambda: len(server.status()["gpulets"]) == 1, "the old gpu-lets gone")
            server.wait_quiet()
            fds = fds or server.fds()
        wait_for(lambda: server.fds() <= fds + 1, "no descriptor is left")
        server.stop()

    def test_asked_to_end_while_a_model_loads(self):
        server = self.serve(("a", {}), ("heavy", {"load_ms": 1500}))
        self.change("unload", "heavy")
        with server.client() as c:
            c.send(head("POST", "/v2/repository/models/heavy/load"))
            wait_for(lambda: self.state("heavy") == "LOADING", "loading")
            server.note_workers()
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(server.wait_exit(40), 0)
        server.stop()

    def test_from_the_command_line(self):
        server = self.serve(("a", {"config": parameters(slo_ms=500)}), ("b", {}))
        url = "http://127.0.0.1:%d" % server.port
        for verb, state in (("unload", "UNAVAILABLE"), ("load", "READY")):
            code, out, err = run(GPULET, "models", verb, "a", "--url", url)
            self.assertEqual(code, 0, out + err)
            self.assertEqual(self.state("a"), state)
            server.note_workers()
        code, _, err = run(GPULET, "models", "load", "nobody", "--url", url)
        self.assertEqual(code, 1)
        self.assertIn("nobody", err)
        self.assertEqual(run(GPULET, "models", "dance", "--url", url)[0], 2)
        server.stop()

    def test_a_file_that_broke_since(self):
        server = self.serve(("a", {}), ("b", {}))
        self.change("unload", "a")
        os.unlink(self.repository.join("a", "1", "model.onnx"))
        self.repository.add("a", fail_load="the moon is in the wrong house")
        r = self.change("load", "a", status=400)
        self.assertIn("moon", r.error())
        self.check_gone("a")
        identity_infer(server, model="b")
        server.stop()


if __name__ == "__main__":
    main()
