/* How stages of an ensemble's run begin: whether the run is let in at all, by when each stage must
 * be done, and the way of a tensor into a model's input slot. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "server/ensemble.h"

static gpulet_app_set_t one(uint32_t stage)
{
    return UINT64_C(1) << stage;
}

/* What the stage's model is asked, made of tensors that are there. */
static gpulet_status_t make_request(server_infer_t *stage, const gpulet_app_stage_t *s,
                                    gpulet_error_t *err)
{
    gpulet_oip_request_t *request = &stage->request;
    memset(request, 0, sizeof(*request));
    request->binary_data_output = true; /* any datatype will do */
    request->inputs = calloc(s->inputs_count, sizeof(*request->inputs));
    if (request->inputs == NULL)
        return gpulet_fail(err, GPULET_E_UNAVAILABLE, "out of memory");
    stage->request_parsed = true;
    request->inputs_count = (uint32_t)s->inputs_count;
    for (size_t i = 0; i < s->inputs_count; i++) {
        const gpulet_tensor_view_t *view = &stage->run->tensors[s->inputs[i].tensor].view;
        gpulet_oip_input_t *input = &request->inputs[i];
        memcpy(input->name, s->inputs[i].name, sizeof(input->name));
        input->type = view->type;
        input->shape = view->shape;
        input->binary = true;
        input->binary_size = view->size;
    }
    return gpulet_oip_request_check(&stage->layout, request, &stage->model->entry->config, err);
}

/* A worker wrote it: strings may lie about their lengths. */
static gpulet_status_t check_strings(const server_infer_t *stage, const gpulet_oip_input_t *input,
                                     const gpulet_tensor_view_t *view, gpulet_error_t *err)
{
    uint64_t elements = 0;
    if (view->type != GPULET_DATATYPE_BYTES)
        return GPULET_OK;
    gpulet_status_t st = gpulet_shape_elements(&elements, &view->shape);
    if (st != GPULET_OK)
        return gpulet_fail(err, st, "input '%s' is too large", input->name);
    return gpulet_oip_bytes_check(view->data, view->size, elements, input->name,
                                  stage->model->entry->name, err);
}

static gpulet_status_t copy_inputs(server_infer_t *stage, const gpulet_app_stage_t *s,
                                   gpulet_error_t *err)
{
    for (uint32_t i = 0; i < stage->layout.inputs_count; i++) {
        const uint32_t link = stage->layout.request_input[i];
        if (link == UINT32_MAX)
            continue;
        server_run_tensor_t *tensor = &stage->run->tensors[s->inputs[link].tensor];
        const gpulet_wire_tensor_t *to = server_infer_tensor(stage, i);
        gpulet_status_t st = check_strings(stage, &stage->request.inputs[link], &tensor->view, err);
        if (st != GPULET_OK)
            return st;
        assert(to->size == tensor->view.size);
        if (to->size > 0)
            memcpy(stage->slot + to->offset, tensor->view.data, to->size);
    }
    return GPULET_OK;
}

static gpulet_status_t fill_stage(server_infer_t *stage, const gpulet_app_stage_t *s,
                                  gpulet_error_t *err)
{
    gpulet_status_t st = make_request(stage, s, err);
    if (st != GPULET_OK)
        return st;
    if (server_infer_prepare(stage) != GPULET_OK)
        return gpulet_fail(err, GPULET_E_UNAVAILABLE,
                           "no shared memory is free for the inputs of model '%s'",
                           stage->model->entry->name);
    return copy_inputs(stage, s, err);
}

/* Whether it reads nothing but what the client gave: then what is wrong is the client's fault. */
static bool is_first(const server_run_t *run, uint32_t stage)
{
    return (run->ensemble->app->first & one(stage)) != 0;
}

/* The stage has read its inputs: what nobody else reads goes. */
static void release_read(server_run_t *run, uint32_t stage)
{
    const gpulet_app_t *app = run->ensemble->app;
    const gpulet_app_stage_t *s = &app->stages[stage];
    gpulet_app_set_t clients = 0;
    for (size_t i = 0; i < s->inputs_count; i++) {
        server_run_tensor_t *t = &run->tensors[s->inputs[i].tensor];
        t->unread &= ~one(stage);
        if (t->unread == 0 && !app->tensors[s->inputs[i].tensor].wanted)
            server_run_drop_copy(run, t);
    }
    for (size_t i = 0; i < app->inputs_count; i++)
        clients |= run->tensors[app->inputs[i]].unread;
    if (clients == 0)
        server_infer_slot_give(run->parent);
}

/* A stage's deadline leaves those behind it the time that they take at least, in batches as
 * planned. */
static void find_deadlines(uint64_t *deadline_ns, const server_run_t *run)
{
    const server_ensemble_t *e = run->ensemble;
    uint64_t least_ns[GPULET_APP_STAGES_MAX];
    for (uint32_t i = 0; i < e->app->stages_count; i++)
        least_ns[i] = e->models[i] == NULL || run->deadline_ns == UINT64_MAX || run->probe
                          ? 0
                          : gpulet_sched_least_ns(run->server->sched, e->models[i]->id,
                                                  run->parent->layout.items);
    gpulet_app_deadlines(deadline_ns, e->app, run->deadline_ns, least_ns);
    for (uint32_t i = 0; i < e->app->stages_count; i++)
        deadline_ns[i] += deadline_ns[i] == 0; /* to the brain 0 is none */
}

static server_infer_t *create_stage(server_run_t *run, uint32_t index, uint64_t deadline_ns)
{
    server_model_t *model = run->ensemble->models[index];
    const server_model_t *whole = run->parent->model;
    server_infer_t *stage = server_infer_take(run->server);
    if (stage == NULL)
        return NULL;
    run->server->infers_total--; /* no request of its own */
    model->infers_open++;
    stage->model = model;
    stage->http = NULL;
    stage->arrival_ns = gpulet_clock_ns();
    stage->raw = false;
    stage->ticket = 0;
    stage->state = INFER_READING_TENSOR;
    stage->run = run;
    stage->is_stage = true;
    stage->continues = !is_first(run, index);
    stage->stage = index;
    stage->deadline_ns = deadline_ns;
    stage->late_serve = whole->entry->config.late_serve;
    stage->priority = server_infer_priority(run->parent, whole->priority);
    run->stages[index] = stage;
    run->under_way++;
    return stage;
}

static gpulet_status_t make_stage(server_run_t *run, uint32_t index, uint64_t deadline_ns,
                                  gpulet_error_t *err)
{
    if (run->ensemble->models[index] == NULL)
        return gpulet_fail(err, GPULET_E_UNAVAILABLE, "%s", run->ensemble->problem);
    server_infer_t *stage = create_stage(run, index, deadline_ns);
    if (stage == NULL)
        return gpulet_fail(err, GPULET_E_UNAVAILABLE, "out of memory");
    gpulet_status_t st = fill_stage(stage, &run->ensemble->app->stages[index], err);
    return st == GPULET_E_INVALID && !is_first(run, index) ? GPULET_E_INTERNAL : st;
}

void server_run_submit(server_run_t *run, gpulet_app_set_t stages)
{
    uint64_t deadline_ns[GPULET_APP_STAGES_MAX];
    server_infer_t *made[GPULET_APP_STAGES_MAX];
    gpulet_error_t err = {""};
    uint32_t count = 0;
    if (stages == 0)
        return;
    find_deadlines(deadline_ns, run);
    for (gpulet_app_set_t left = stages; left != 0; left &= left - 1) {
        uint32_t index = (uint32_t)__builtin_ctzll(left);
        gpulet_status_t st = make_stage(run, index, deadline_ns[index], &err);
        if (run->stages[index] != NULL)
            made[count++] = run->stages[index];
        if (st == GPULET_OK)
            continue;
        for (uint32_t i = 0; i < count; i++)
            server_run_free_stage(made[i]);
        server_run_fail_stage(run, index, st, err.text);
        return;
    }
    for (gpulet_app_set_t left = stages; left != 0; left &= left - 1)
        release_read(run, (uint32_t)__builtin_ctzll(left));
    server_infer_submit_all(run->server, made, count);
}

bool server_run_is_let_in(server_run_t *run)
{
    server_ensemble_t *e = run->ensemble;
    server_infer_t *parent = run->parent;
    uint64_t deadline_ns[GPULET_APP_STAGES_MAX];
    uint64_t needed_ns[GPULET_APP_STAGES_MAX];
    const uint64_t now_ns = gpulet_clock_ns();
    uint64_t retry_after_ns = 0;
    if (run->deadline_ns == UINT64_MAX || parent->model->entry->config.late_serve)
        return true;
    find_deadlines(deadline_ns, run);
    for (uint32_t i = 0; i < e->app->stages_count; i++) {
        const gpulet_sched_request_t request = {
            .model = e->models[i] != NULL ? e->models[i]->id : UINT32_MAX,
            .items = parent->layout.items,
            .arrival_ns = now_ns,
            .deadline_ns = deadline_ns[i],
            .priority_given = true,
            .priority = server_infer_priority(parent, parent->model->priority),
        };
        uint64_t end_ns = gpulet_sched_predict_ns(run->server->sched, now_ns, &request);
        needed_ns[i] = end_ns == UINT64_MAX ? 0 : end_ns - now_ns; /* refused when it comes to it */
    }
    gpulet_app_entry_t entry = gpulet_app_admit(&e->gate, e->app, now_ns, run->deadline_ns,
                                                needed_ns, e->stats.running == 1, &retry_after_ns);
    run->probe = entry == GPULET_APP_PROBE;
    if (entry != GPULET_APP_REFUSED)
        return true;
    e->stats.rejected[GPULET_REJECT_PREDICTED_LATE]++;
    (void)gpulet_app_runs_cancel(run->server->app_runs, run->id);
    server_infer_refuse(server_run_part(run), GPULET_REJECT_PREDICTED_LATE, retry_after_ns, NULL);
    return false;
}
