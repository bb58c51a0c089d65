#include "server/settings.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "base/file.h"

enum { CONFIG_SIZE_MAX = 1 << 20 };

#define AT(field) offsetof(gpulet_settings_t, field)
#define ANY       1, 0

const gpulet_option_t gpulet_settings_table[] = {
    {"model-repository", GPULET_OPTION_STRING, AT(model_repository), NULL, ANY, "DIR",
     "folder of models, laid out as Triton does: <model>/<version>/model.onnx", "Models"},
    {"skip-bad-models", GPULET_OPTION_BOOL, AT(skip_bad_models), NULL, ANY, NULL,
     "serve the rest when a model is wrong, instead of refusing to start", NULL},
    {"batch-max", GPULET_OPTION_U64, AT(batch_max), "32", 1, 1024, "N",
     "largest batch of a model whose configuration does not say", NULL},
    {"engine", GPULET_OPTION_STRING, AT(engine), "ort", ANY, "NAME",
     "what runs the models: ort, or fake, which only sleeps as --profiles says", NULL},
    {"ort-library", GPULET_OPTION_STRING, AT(ort_library), NULL, ANY, "PATH",
     "ONNX Runtime's shared library (else GPULET_ORT_LIBRARY, the install folder, the loader's "
     "path)",
     NULL},
    {"address", GPULET_OPTION_STRING, AT(address), "127.0.0.1", ANY, "ADDRESS",
     "address to listen on", "Front doors"},
    {"http-port", GPULET_OPTION_U64, AT(http_port), "8000", 0, 65535, "PORT",
     "HTTP port, 0 for a free one", NULL},
    {"grpc-port", GPULET_OPTION_U64, AT(grpc_port), "0", 0, 65535, "PORT",
     "gRPC is not served yet: a port other than 0 is warned of and left closed", NULL},
    {"metrics-port", GPULET_OPTION_U64, AT(metrics_port), "8002", 0, 65535, "PORT",
     "metrics port, 0 for a free one", NULL},
    {"http-connections-max", GPULET_OPTION_U64, AT(http_connections_max), "1024", 1, 1000000, "N",
     "connections at a time; more are answered 429", NULL},
    {"http-head-bytes-max", GPULET_OPTION_U64, AT(http_head_bytes_max), "16384", 1024, 1048576,
     "BYTES", "request line and headers; more is 431", NULL},
    {"http-headers-max", GPULET_OPTION_U64, AT(http_headers_max), "100", 8, 65536, "N",
     "header fields of a request; more is 431", NULL},
    {"http-body-mb-max", GPULET_OPTION_U64, AT(http_body_mb_max), "65", 1, 4096, "MIB",
     "request body; more is 413", NULL},
    {"http-json-depth-max", GPULET_OPTION_U64, AT(http_json_depth_max), "32", 4, 1000, "N",
     "nesting of request JSON; more is 400", NULL},
    {"http-tensors-max", GPULET_OPTION_U64, AT(http_tensors_max), "64", 1, 64, "N",
     "inputs, and outputs, of a request; more is 400", NULL},
    {"http-head-timeout-ms", GPULET_OPTION_U64, AT(http_head_timeout_ms), "10000", 10, 3600000,
     "MS", "from the first byte of a request to the end of its headers; longer is 408", NULL},
    {"http-body-timeout-ms", GPULET_OPTION_U64, AT(http_body_timeout_ms), "30000", 10, 3600000,
     "MS", "without progress of a body; longer is 408", NULL},
    {"http-idle-timeout-ms", GPULET_OPTION_U64, AT(http_idle_timeout_ms), "75000", 10, 3600000,
     "MS", "between requests of a connection; then it is closed", NULL},
    {"http-send-timeout-ms", GPULET_OPTION_U64, AT(http_send_timeout_ms), "30000", 10, 3600000,
     "MS", "without a client taking anything of its answer; then the connection is closed", NULL},
    {"device", GPULET_OPTION_STRING, AT(device), "cpu", ANY, "NAME",
     "device backend: cpu, mps (NVIDIA GPUs) or fake", "Devices"},
    {"fake-devices", GPULET_OPTION_STRING, AT(fake_devices), "fake:100:1", ANY, "SPEC",
     "devices of the fake backend, type:units:count[:memory_mb][,...]", NULL},
    {"fake-gone", GPULET_OPTION_STRING, AT(fake_gone), NULL, ANY, "FILE",
     "devices of the fake backend that are gone, type/index a line, read every second", NULL},
    {"reserve-cores", GPULET_OPTION_STRING, AT(reserve_cores), NULL, ANY, "CORES",
     "cores for the server itself, where no gpu-let is, such as 0 or 0,2-3", NULL},
    {"mps-step", GPULET_OPTION_U64, AT(mps_step), "10", 1, 100, "N",
     "of the mps backend: gpu-let sizes are multiples of N percent", NULL},
    {"spin", GPULET_OPTION_BOOL, AT(spin), NULL, ANY, NULL,
     "workers spin shortly for new work; only where gpu-lets own their cores", NULL},
    {"lend", GPULET_OPTION_BOOL, AT(lend), "true", ANY, NULL,
     "a gpu-let has the use of units that a neighbour leaves idle, until it wants them", NULL},
    {"planner", GPULET_OPTION_STRING, AT(planner), "elastic", ANY, "NAME",
     "which planner: any that 'gpulet plan' has (docs/planning.md)", "Planning"},
    {"plan", GPULET_OPTION_STRING, AT(plan), NULL, ANY, "FILE",
     "serve this plan (JSON of gpulet plan) instead of making one", NULL},
    {"fresh-plan", GPULET_OPTION_BOOL, AT(fresh_plan), NULL, ANY, NULL,
     "begin with a new plan, not with the one that was served last", NULL},
    {"profiles", GPULET_OPTION_STRING, AT(profiles), NULL, ANY, "FILE",
     "measured latencies (CSV of gpulet profile); models that it lacks are measured when idle",
     NULL},
    {"workload", GPULET_OPTION_STRING, AT(workload), NULL, ANY, "FILE",
     "expected rates and SLOs (CSV), over those of the repository", NULL},
    {"scenario", GPULET_OPTION_STRING, AT(scenario), NULL, ANY, "NAME", "scenario of the workload",
     NULL},
    {"interference", GPULET_OPTION_STRING, AT(interference), NULL, ANY, "FILE",
     "how gpu-lets slow one another down (CSV of gpulet fit)", NULL},
    {"interference-quantile", GPULET_OPTION_F64, AT(interference_quantile), "0", 0, 0.99999, "Q",
     "plan for this quantile of the interference's fitted error (0.95); 0: for what was fitted",
     NULL},
    {"utilisation-scaled", GPULET_OPTION_BOOL, AT(utilisation_scaled), NULL, ANY, NULL,
     "linear interference: scale utilisations by a gpu-let's part of the device, as the prototype",
     NULL},
    {"devices", GPULET_OPTION_STRING, AT(devices), NULL, ANY, "FILE",
     "device types (YAML); default: what the backend finds", NULL},
    {"latency-margin", GPULET_OPTION_F64, AT(latency_margin), "1.0", 1, 10, "X",
     "multiplies every latency when planning", NULL},
    {"slo-fraction", GPULET_OPTION_F64, AT(slo_fraction), "0.95", 0.01, 1, "X",
     "multiplies every SLO when planning: room for what no profile knows", NULL},
    {"rate-percentile", GPULET_OPTION_F64, AT(rate_percentile), "0.99", 0, 0.9999, "P",
     "plan for this percentile of Poisson arrivals; 0: the bare rate", NULL},
    {"use-spare", GPULET_OPTION_BOOL, AT(use_spare), "true", ANY, NULL,
     "plan for more than the rates, as far as the devices that they need can hold it, so that no "
     "units stay idle",
     NULL},
    {"all-devices", GPULET_OPTION_BOOL, AT(all_devices), NULL, ANY, NULL,
     "with --use-spare: plan for all devices, not only for those that the rates need", NULL},
    {"follow", GPULET_OPTION_BOOL, AT(follow), "true", ANY, NULL,
     "track the rates and plan anew when they change; off with --plan, unless given too",
     "Following the load"},
    {"replan-period-s", GPULET_OPTION_F64, AT(replan_period_s), "20", 0.5, 86400, "S",
     "how often it is checked whether another plan would be better", NULL},
    {"replan-hold-s", GPULET_OPTION_F64, AT(replan_hold_s), "2", 0.1, 86400, "S",
     "least time between two plans, even when the running one does not cover the load", NULL},
    {"rate-window-s", GPULET_OPTION_F64, AT(rate_window_s), "20", 4, 128, "S",
     "rates are averaged over this time, and looked at over up to three times as long", NULL},
    {"replan-better", GPULET_OPTION_F64, AT(replan_better), "1.25", 1, 100, "X",
     "a plan that is not needed replaces the running one if it covers this many times as much",
     NULL},
    {"transition-limit-s", GPULET_OPTION_F64, AT(transition_limit_s), "60", 0.1, 86400, "S",
     "a plan that is not reached by then is given up", NULL},
    {"store", GPULET_OPTION_STRING, AT(store), NULL, ANY, "FILE",
     "SQLite file of measured profiles and the last plan; 'none': keep nothing "
     "[$XDG_STATE_HOME/gpulet/gpulet.db, else ~/.local/state/gpulet/gpulet.db]",
     "Measuring and storing"},
    {"model-cache", GPULET_OPTION_STRING, AT(model_cache), NULL, ANY, "DIR",
     "models as the engine rewrites them, made when idle, so that workers start many times faster "
     "and share weights; 'none': make none [models/ beside the store]",
     NULL},
    {"model-cache-mb", GPULET_OPTION_U64, AT(model_cache_mb), "8192", 1, 1048576, "MIB",
     "largest size of the model cache; the longest unused models go first", NULL},
    {"calibrate", GPULET_OPTION_BOOL, AT(calibrate), "true", ANY, NULL,
     "measure models without a profile when idle, then plan again", NULL},
    {"calibrate-seconds", GPULET_OPTION_F64, AT(calibrate_seconds), "5", 0.1, 600, "S",
     "most time for measuring one model", NULL},
    {"patience-s", GPULET_OPTION_F64, AT(patience_s), "60", 0, 1e9, "S",
     "wait so long for a pause in the requests, then measure and prepare models beside them", NULL},
    {"requests-max", GPULET_OPTION_U64, AT(requests_max), "16384", 16, 1000000, "N",
     "requests waiting and running; more are answered 503, and from three quarters of it on those "
     "without a deadline or with late: serve",
     "Serving"},
    {"input-mb", GPULET_OPTION_U64, AT(input_mb), "256", 1, 65536, "MIB",
     "shared memory for the waiting inputs of a model; requests of over 1 MiB have as much for all "
     "models together; sizes are rounded up to powers of two (address space, used as needed)",
     NULL},
    {"output-mb", GPULET_OPTION_U64, AT(output_mb), "256", 1, 65536, "MIB",
     "shared memory for the answers of a worker (address space, used as needed)", NULL},
    {"commit-ahead-us", GPULET_OPTION_F64, AT(commit_ahead_us), "500", 0, 1e6, "US",
     "a second batch is sent to a gpu-let so long before the running one should end", NULL},
    {"overhead-us", GPULET_OPTION_F64, AT(overhead_us), "200", 0, 1e6, "US",
     "added to every predicted latency for what is not execution", NULL},
    {"run-limit-s", GPULET_OPTION_F64, AT(run_limit_s), "60", 0.1, 86400, "S",
     "a batch that runs longer: its worker is replaced", NULL},
    {"load-limit-s", GPULET_OPTION_F64, AT(load_limit_s), "120", 0.1, 86400, "S",
     "a model that loads longer is given up", NULL},
    {"drain-limit-s", GPULET_OPTION_F64, AT(drain_limit_s), "30", 0.1, 86400, "S",
     "after SIGTERM, requests in flight get so long", NULL},
    {"config", GPULET_OPTION_STRING, AT(config), NULL, ANY, "FILE",
     "settings in YAML, the keys are these names", "General"},
    {"worker-program", GPULET_OPTION_STRING, AT(worker_program), NULL, ANY, "PATH",
     "gpulet-worker [beside this program]", NULL},
    {"log-level", GPULET_OPTION_STRING, AT(log_level), "info", ANY, "LEVEL",
     "debug, info, warning or error", NULL},
    {"help", GPULET_OPTION_BOOL, AT(help), NULL, ANY, NULL, "print this and exit", NULL},
    {"version", GPULET_OPTION_BOOL, AT(version), NULL, ANY, NULL, "print the version and exit",
     NULL},
    {NULL, GPULET_OPTION_BOOL, 0, NULL, ANY, NULL, NULL, NULL},
};

enum { OPTIONS_MAX = sizeof(gpulet_settings_table) / sizeof(gpulet_settings_table[0]) };

static gpulet_status_t apply_pair(gpulet_settings_t *settings, yaml_document_t *document,
                                  const yaml_node_pair_t *pair, const char *file, const bool *seen,
                                  gpulet_error_t *err)
{
    const yaml_node_t *key = yaml_document_get_node(document, pair->key);
    const yaml_node_t *value = yaml_document_get_node(document, pair->value);
    size_t line = key->start_mark.line + 1;
    gpulet_error_t inner;
    if (key->type != YAML_SCALAR_NODE)
        return gpulet_fail(err, GPULET_E_INVALID, "%s:%zu: expected the name of a setting", file,
                           line);
    const char *name = (const char *)key->data.scalar.value;
    const gpulet_option_t *option = gpulet_options_find(gpulet_settings_table, name, strlen(name));
    if (option == NULL)
        return gpulet_fail(err, GPULET_E_INVALID, "%s:%zu: %s: no such setting", file, line, name);
    if (value->type != YAML_SCALAR_NODE)
        return gpulet_fail(err, GPULET_E_INVALID, "%s:%zu: %s: expected one value", file, line,
                           name);
    if (seen[option - gpulet_settings_table])
        return GPULET_OK;
    gpulet_status_t st = gpulet_options_set(gpulet_settings_table, settings, name,
                                            (const char *)value->data.scalar.value, &inner);
    settings->follow_given |= st == GPULET_OK && strcmp(name, "follow") == 0;
    return st == GPULET_OK ? st : gpulet_fail(err, st, "%s:%zu: %s", file, line, inner.text);
}

static gpulet_status_t apply_document(gpulet_settings_t *settings, yaml_document_t *document,
                                      const char *file, const bool *seen, gpulet_error_t *err)
{
    const yaml_node_t *root = yaml_document_get_root_node(document);
    gpulet_status_t st = GPULET_OK;
    if (root == NULL)
        return GPULET_OK;
    if (root->type != YAML_MAPPING_NODE)
        return gpulet_fail(err, GPULET_E_INVALID, "%s:1: expected a map of settings", file);
    for (const yaml_node_pair_t *pair = root->data.mapping.pairs.start;
         pair < root->data.mapping.pairs.top && st == GPULET_OK; pair++)
        st = apply_pair(settings, document, pair, file, seen, err);
    return st;
}

gpulet_status_t gpulet_settings_parse_yaml(gpulet_settings_t *settings, const char *text,
                                           size_t size, const char *file, const bool *seen,
                                           gpulet_error_t *err)
{
    static const bool nothing[OPTIONS_MAX];
    yaml_parser_t parser;
    yaml_document_t document;
    gpulet_status_t st = GPULET_OK;
    if (!yaml_parser_initialize(&parser))
        return gpulet_fail(err, GPULET_E_NOMEM, "%s: out of memory", file);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    if (!yaml_parser_load(&parser, &document)) {
        st = gpulet_fail(err, GPULET_E_INVALID, "%s:%zu: %s", file, parser.problem_mark.line + 1,
                         parser.problem != NULL ? parser.problem : "not YAML");
    } else {
        st = apply_document(settings, &document, file, seen != NULL ? seen : nothing, err);
        yaml_document_delete(&document);
    }
    yaml_parser_delete(&parser);
    return st;
}

gpulet_status_t gpulet_settings_read(gpulet_settings_t *out, int argc, char **argv,
                                     gpulet_error_t *err)
{
    bool seen[OPTIONS_MAX] = {false};
    char *text = NULL;
    size_t size = 0;
    int words = 0;
    memset(out, 0, sizeof(*out));
    gpulet_status_t st = gpulet_options_defaults(gpulet_settings_table, out);
    if (st != GPULET_OK)
        return gpulet_fail(err, st, "out of memory");
    st = gpulet_options_parse(gpulet_settings_table, out, 1, argc, argv, &words, seen, err);
    if (st == GPULET_OK && words > 0)
        st = gpulet_fail(err, GPULET_E_INVALID, "unexpected word '%s' (see --help)", argv[0]);
    if (st == GPULET_OK && out->config != NULL)
        st = gpulet_file_read(&text, &size, out->config, CONFIG_SIZE_MAX, err);
    if (st == GPULET_OK && out->config != NULL)
        st = gpulet_settings_parse_yaml(out, text, size, out->config, seen, err);
    free(text);
    /* A plan that is given stays, unless following is asked for as well. */
    out->follow_given |=
        seen[gpulet_options_find(gpulet_settings_table, "follow", 6) - gpulet_settings_table];
    if (out->plan != NULL && !out->follow_given)
        out->follow = false;
    return st;
}

void gpulet_settings_deinit(gpulet_settings_t *settings)
{
    gpulet_options_deinit(gpulet_settings_table, settings);
}
