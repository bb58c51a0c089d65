#!/usr/bin/env python3
"""Writes the synthetic data of this folder: what the schedulers are compared on where no GPU is at hand.

Nothing of it was measured here. The latencies grow from points that were read off published curves of GoogLeNet and ResNet50
on an RTX 2080 Ti (errors of about 0.3 ms) and from the rule that a model's SLO is twice its latency at batch 32 on the whole
device; everything between is a formula of this file. Standard library only; the same files, byte for byte, on every run.

  make_paper_data.py [DIR]      writes the files into DIR (default: this folder)
"""
import math
import os
import sys

DEVICE = "rtx2080ti"
UNITS = (20, 40, 50, 60, 80, 100)
BATCHES = (1, 2, 4, 8, 16, 32)

# Read off the curves, ms, by batch, at the sizes of UNITS. Batch 1 is hidden behind batch 2 there: about 6.2 ms flat for
# GoogLeNet, 8 falling to 6 ms for ResNet50.
GOOGLENET = {
    1: (6.2, 6.2, 6.2, 6.2, 6.2, 6.2),
    2: (6.6, 6.4, 6.4, 6.4, 6.4, 6.4),
    4: (9.5, 7.6, 7.3, 7.3, 7.0, 7.1),
    8: (17.3, 11.9, 11.1, 10.3, 9.9, 9.7),
    16: (29.5, 20.7, 20.3, 18.5, 18.1, 17.6),
    32: (56.8, 41.9, 38.4, 36.4, 33.7, 33.3),
}
RESNET50 = {
    1: (8.0, 6.8, 6.4, 6.2, 6.0, 6.0),
    2: (11.6, 7.5, 7.0, 6.7, 6.4, 6.2),
    4: (19.3, 11.9, 10.7, 10.0, 8.6, 7.8),
    8: (35.4, 21.7, 20.2, 18.0, 16.0, 14.5),
    16: (62.9, 39.9, 36.5, 34.3, 30.2, 29.1),
    32: (116.0, 76.1, 66.8, 62.4, 56.0, 54.1),
}

# name: (SLO of the first version, ms; of the second; part of the latency that does not grow with the batch, ms, None: as in the
# reference; whose shape over the sizes; MiB; bytes of an input)
MODELS = {
    "lenet": (5, 5, 0.5, GOOGLENET, 50, 28 * 28 * 4),
    "googlenet": (44, 66, None, GOOGLENET, 1720, 3 * 224 * 224 * 4),
    "resnet50": (95, 108, None, RESNET50, 1820, 3 * 224 * 224 * 4),
    "ssd-mobilenet": (136, 202, 6.0, RESNET50, 640, 3 * 300 * 300 * 4),
    "vgg16": (130, 142, 6.0, RESNET50, 2920, 3 * 224 * 224 * 4),
    "mnasnet1_0": (None, 62, 6.0, GOOGLENET, 1550, 3 * 224 * 224 * 4),
    "mobilenet_v2": (None, 64, 6.0, GOOGLENET, 464, 3 * 224 * 224 * 4),
    "densenet161": (None, 202, 6.0, RESNET50, 1220, 3 * 224 * 224 * 4),
    "bert": (None, 22, 2.0, GOOGLENET, 500, 128 * 8),
}
V1 = ("lenet", "googlenet", "resnet50", "ssd-mobilenet", "vgg16")
V2 = tuple(MODELS)

# Share of the L2 and of the memory bandwidth that batch 32 uses on the whole device: round numbers of the order that
# profilers show for such models. A batch of b uses (0.3 + 0.7·b/32) of it, a gpu-let of p % p/100 of that (the paper's scaling).
UTILISATION = {
    "lenet": (0.07, 0.25), "googlenet": (0.25, 0.56), "resnet50": (0.28, 0.62), "ssd-mobilenet": (0.27, 0.61),
    "vgg16": (0.30, 0.61), "mnasnet1_0": (0.21, 0.57), "mobilenet_v2": (0.24, 0.62), "densenet161": (0.25, 0.60),
    "bert": (0.18, 0.34),
}

# The paper's fitted coefficients for this device: l2 of self and other, DRAM of self and other, constant.
COEFFICIENTS = (0.112908, 0.715960, 0.354866, 0.088204, 0.895369)

# Host-side batching: the prototype's measured copies run from and to these, ms, at batch 1 and 32, times its factor.
HOST_224 = (0.24 * 1.9, 10.99 * 1.9)
HOST_300 = (0.42 * 2.5, 21.7 * 2.5)

NOTE = "# Synthetic: made by data/make_paper_data.py, not measured (see data/README.md).\n"


def number(x):
    return ("%.4f" % x).rstrip("0").rstrip(".")


def latency_ms(version, model, batch, index):
    """Batch 32 on the whole device takes half the SLO. The points of the reference models are the second version's: there they
    stand as they were read, for the first they are scaled. Another model takes its shape over the sizes from its reference at
    the same batch."""
    slo_v1, slo_v2, fixed_ms, shape, *_ = MODELS[model]
    if fixed_ms is None:
        return shape[batch][index] * (1 if version == 2 else slo_v1 / 2 / shape[32][-1])
    whole_ms = (slo_v1 if version == 1 else slo_v2) / 2
    alone_ms = fixed_ms + (whole_ms - fixed_ms) * batch / 32
    return alone_ms * shape[batch][index] / shape[batch][-1]


def profile(version, models):
    lines = [NOTE, "device,model,units,batch,latency_ms,memory_mb,l2_util,dram_util,input_bytes\n"]
    for model in models:
        memory_mb, input_bytes = MODELS[model][4:]
        l2, dram = UTILISATION[model]
        for index, units in enumerate(UNITS):
            for batch in BATCHES:
                use = (0.3 + 0.7 * batch / 32) * units / 100
                lines.append("%s,%s,%d,%d,%s,%d,%s,%s,%d\n" % (
                    DEVICE, model, units, batch, number(latency_ms(version, model, batch, index)), memory_mb, number(l2 * use),
                    number(dram * use), input_bytes))
    return "".join(lines)


def workload(version, scenarios):
    column = version - 1
    lines = [NOTE, "scenario,model,rate_rps,slo_ms\n"]
    for name, rates, slo_ms in scenarios:
        for model, rate in rates:
            slo = slo_ms if slo_ms is not None else MODELS[model][column]
            lines.append("%s,%s,%s,%s\n" % (name, model, number(rate), number(slo)))
    return "".join(lines)


def workloads():
    """The request scenarios of both versions. An application's models share its rate; game has six LeNets of one network, which
    are one model at six times the rate here; traffic gives its second stage what the first leaves."""
    equal = [(m, 50) for m in V1]
    long_only = [(m, 100) for m in ("resnet50", "ssd-mobilenet", "vgg16")]
    short_skew = [("lenet", 100), ("googlenet", 100), ("resnet50", 100), ("ssd-mobilenet", 50), ("vgg16", 50)]
    game = [("lenet", 600), ("resnet50", 100)]
    v1 = [("equal", equal, None), ("long-only", long_only, None), ("short-skew", short_skew, None), ("game", game, 95)]
    v2 = [
        ("scen1", [("googlenet", 100), ("bert", 100), ("mnasnet1_0", 50), ("mobilenet_v2", 50)], None),
        ("scen2", [("densenet161", 50), ("vgg16", 50)], None),
        ("scen3", [("resnet50", 50), ("vgg16", 50), ("mobilenet_v2", 50)], None),
        ("scen4", [("ssd-mobilenet", 50), ("mnasnet1_0", 50), ("densenet161", 50)], None),
        ("scen5", [("lenet", 50), ("ssd-mobilenet", 50), ("vgg16", 50), ("mnasnet1_0", 50)], None),
        ("game", game, 108),
    ]
    traffic = {1: (69, 67), 2: (90, 112)}
    out = {}
    for version, scenarios in ((1, v1), (2, v2)):
        text = workload(version, scenarios)
        first, second = traffic[version]
        for model, slo in (("ssd-mobilenet", first), ("googlenet", second), ("vgg16", second)):
            text += "traffic,%s,100,%d\n" % (model, slo)
        out["workloads_v%d.csv" % version] = text
    return out


def host_cost():
    lines = [NOTE, "model,batch,ms\n"]
    for model in V2:
        side = {3 * 224 * 224 * 4: HOST_224, 3 * 300 * 300 * 4: HOST_300}.get(MODELS[model][5])
        flat = 1.0 if model == "bert" else 0.4
        for batch, ms in ((1, side[0] if side else flat), (32, side[1] if side else flat)):
            lines.append("%s,%d,%s\n" % (model, batch, number(ms)))
    return "".join(lines)


def devices():
    return """# The paper's device: at most two gpu-lets of 20, 40, 50, 60, 80 or 100 %% and three models in each.
types:
  %s:
    units: 100
    sizes: [20, 40, 50, 60, 80, 100]
    gpulets_max: 2
    models_max: 3
    memory_mb: 11000
devices:
  %s: 4
""" % (DEVICE, DEVICE)


def limits():
    """The same with the limits of the authors' prototype: a tenth of the memory left free, each process's own, the network."""
    text = devices().replace("# The paper's device:", "# With the limits of the authors' prototype:")
    return text.replace("    memory_mb: 11000\n", "    memory_mb: 11000\n    memory_headroom: 0.9\n"
                        "    memory_mb_process: 1230\n    network_gbps: 3.0\n")


def glet_files():
    """The same in the files of the authors' prototype, which have no comments: data/README.md says that they are synthetic."""
    latency = ["%s,%d,%d,%s\n" % ({"lenet": "lenet1", "ssd-mobilenet": "ssd-mobilenetv1"}.get(m, m), units, batch,
                                 number(latency_ms(2, m, batch, i)))
               for m in V2 for i, units in enumerate(UNITS) for batch in BATCHES]
    util = ["bench,batch,avg_duration(ms),SM_util(%),l2_util(%),mem_util(%),achieved occupancy,theoretical occupancy\n"]
    for m in V2:
        name = {"ssd-mobilenet": "ssd-mobilenetv1"}.get(m, m)
        for batch in BATCHES:
            use = 100 * (0.3 + 0.7 * batch / 32)
            util.append("%s,%d,0,0,%s,%s,0,0,\n" % (name, batch, number(UTILISATION[m][0] * use), number(UTILISATION[m][1] * use)))
    constants = "l2_util_m1,l2_util_m2,dram_util_m1,dram_util_m2,constant\n" + ",".join("%g" % c for c in COEFFICIENTS) + "\n"
    config = ('{"device_specs": [{"type": "2080ti", "mem_mb": 11000, "latency_prof_file": "latency_synthetic.csv",\n'
              '  "interference_const_file": "INT_MODEL_CONSTANT.CSV", "interference_util_file": "UTIL_synthetic.CSV"}]}\n')
    return {"glet/latency_synthetic.csv": "".join(latency), "glet/UTIL_synthetic.CSV": "".join(util),
            "glet/INT_MODEL_CONSTANT.CSV": constants, "glet/device-config.json": config,
            "glet/tasks.csv": "5\n0,50,5,\n6,50,66,\n7,50,108,\n8,50,202,\n9,50,142,\n"}


# Rates over time. Waves: each model between 10 and 100 % of what four devices carry of all five at once (500 requests a second of
# each, by `gpulet plan --max-multiple --rate-percentile 0.99`), each with a period, s, and a phase of its own.
WAVES_PEAK_RPS = 500
WAVES_S, WAVES_STEP_S = 1800, 5
WAVES = {"lenet": (450, 0.0), "googlenet": (600, 0.25), "resnet50": (720, 0.5), "ssd-mobilenet": (540, 0.75), "vgg16": (900, 0.4)}
# The paper's experiment of growing and shrinking (second version, read off its figure within about 25 requests a second): rates of
# the three models every 100 s from 100 s on; here on a straight line between.
SCALING_MODELS = ("mobilenet_v2", "vgg16", "resnet50")
SCALING_STEP_S = 20
SCALING = ((62, 88, 88), (175, 188, 188), (288, 288, 287), (350, 350, 338), (375, 487, 488), (375, 550, 475), (375, 612, 488),
           (380, 720, 510), (288, 475, 288), (138, 238, 88), (62, 188, 62), (62, 188, 62), (75, 238, 100), (200, 325, 212),
           (312, 425, 312), (350, 525, 338), (450, 588, 500), (550, 675, 588), (638, 762, 688), (720, 860, 690),
           (812, 712, 762), (725, 788, 862), (800, 862, 762), (825, 925, 825), (838, 975, 850), (888, 875, 862),
           (688, 875, 688), (450, 700, 412), (238, 462, 225), (38, 238, 50), (38, 50, 50), (38, 50, 50))


def rates_of_waves():
    for time in range(0, WAVES_S, WAVES_STEP_S):
        for model, (period, phase) in WAVES.items():
            yield time, model, WAVES_PEAK_RPS * (0.55 - 0.45 * math.cos(2 * math.pi * (time / period + phase)))


def rates_of_scaling():
    points = [(0, SCALING[0])] + [(100 * (i + 1), rates) for i, rates in enumerate(SCALING)]
    for (begin, before), (end, after) in zip(points, points[1:]):
        for time in range(begin, end, SCALING_STEP_S):
            for model, a, b in zip(SCALING_MODELS, before, after):
                yield time, model, a + (b - a) * (time - begin) / (end - begin)


def load_files():
    out = {}
    for name, rates, slos in (("waves", rates_of_waves, V1), ("scaling", rates_of_scaling, V2)):
        rows = list(rates())
        first = {model: rate for _, model, rate in reversed(rows)}
        out["rates_%s.csv" % name] = NOTE + "time_s,model,rate_rps\n" + "".join("%d,%s,%.1f\n" % row for row in rows)
        out["workload_%s.csv" % name] = NOTE + "model,rate_rps,slo_ms\n" + "".join(
            "%s,%.1f,%s\n" % (model, first[model], number(MODELS[model][0 if slos is V1 else 1]))
            for model in (WAVES if slos is V1 else SCALING_MODELS))
    return out


def files():
    out = {"profile_2080ti_synthetic_v1.csv": profile(1, V1), "profile_2080ti_synthetic_v2.csv": profile(2, V2),
           "host_cost_synthetic.csv": host_cost(), "devices_2080ti.yaml": devices(), "devices_2080ti_limits.yaml": limits(),
           "interference_2080ti.csv": "# The coefficients of the paper's linear model for an RTX 2080 Ti.\n"
           "device,l2_self,l2_other,dram_self,dram_other,constant\n%s,%s\n" % (DEVICE, ",".join("%g" % c for c in COEFFICIENTS))}
    out.update(workloads())
    out.update(load_files())
    out.update(glet_files())
    return out


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
    os.makedirs(os.path.join(folder, "glet"), exist_ok=True)
    for name, text in sorted(files().items()):
        with open(os.path.join(folder, name), "w", encoding="utf-8", newline="\n") as out:
            out.write(text)


if __name__ == "__main__":
    main()
