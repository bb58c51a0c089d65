/* Requests of ensembles. The client's request is read as any other; then a run gives its stages to
 * the brain as requests of their models. A stage's outputs go straight from the worker's output
 * segment into the input slots of the stages that can begin now; what has to wait, for another
 * stage or for the answer, is copied aside first, so that it pins no worker's memory. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/ensemble.h"

/* A tensor of the application in one run. */
typedef struct run_tensor {
    gpulet_tensor_view_t view; /* as clients see it; into the client's slot, a worker's outputs
                                  during the call that hands them over, or copy */
    void *copy;                /* owned; NULL: it was not kept */
    gpulet_app_set_t unread;   /* consumers that were not submitted yet */
} run_tensor_t;

struct server_run {
    gpulet_server_t *server;
    server_run_t *next;
    server_run_t **link;
    server_infer_t *parent;      /* the client's request; NULL: it has its answer */
    server_ensemble_t *ensemble; /* until then */
    gpulet_app_run_t id;
    uint32_t under_way; /* stages */
    uint32_t busy;      /* callers that are in it */
    bool sending;       /* the answer refers to its tensors */
    uint64_t deadline_ns;
    bool own_timeout;                              /* the client's own is what binds */
    bool probe;                                    /* let in against the prediction */
    server_infer_t *stages[GPULET_APP_STAGES_MAX]; /* under way */
    server_times_t times;                          /* of all stages */
    server_output_t *output; /* of the last stage, while its tensors are being sent */
    uint64_t held_bytes;     /* of copies */
    size_t tensors_count;
    run_tensor_t tensors[];
};

static gpulet_app_set_t one(uint32_t stage)
{
    return UINT64_C(1) << stage;
}

/* ---- memory ---- */

static void drop_copy(server_run_t *run, run_tensor_t *t)
{
    if (t->copy == NULL)
        return;
    free(t->copy);
    t->copy = NULL;
    run->held_bytes -= t->view.size;
    run->server->held_bytes -= t->view.size;
}

/* Frees the run when nobody needs it any more. */
static void settle(server_run_t *run)
{
    if (run->parent != NULL || run->under_way > 0 || run->busy > 0 || run->sending)
        return;
    for (size_t i = 0; i < run->tensors_count; i++)
        drop_copy(run, &run->tensors[i]);
    if (run->output != NULL)
        server_output_unref(run->output);
    *run->link = run->next;
    if (run->next != NULL)
        run->next->link = run->link;
    free(run);
}

/* Around all that may end the run while it goes on being used. */
static void enter(server_run_t *run)
{
    run->busy++;
}

static void leave(server_run_t *run)
{
    run->busy--;
    settle(run);
}

static void sent(void *context)
{
    server_run_t *run = context;
    run->sending = false;
    settle(run);
}

static server_run_t *create(server_infer_t *parent)
{
    gpulet_server_t *server = parent->server;
    const gpulet_app_t *app = parent->model->ensemble->app;
    server_run_t *run = calloc(1, sizeof(*run) + app->tensors_count * sizeof(run->tensors[0]));
    if (run == NULL)
        return NULL;
    run->server = server;
    run->parent = parent;
    run->ensemble = parent->model->ensemble;
    run->busy = 1;
    run->tensors_count = app->tensors_count;
    for (size_t i = 0; i < app->tensors_count; i++)
        run->tensors[i].unread = app->tensors[i].consumers;
    run->next = server->runs;
    run->link = &server->runs;
    if (run->next != NULL)
        run->next->link = &run->next;
    server->runs = run;
    return run;
}

/* The stage has ended, or could not begin. */
static void free_stage(server_infer_t *stage)
{
    server_run_t *run = stage->run;
    run->stages[stage->stage] = NULL;
    run->under_way--;
    stage->state = INFER_ANSWERED;
    server_infer_finished(stage);
}

/* ---- the end ---- */

/* The parent leaves the run; what it is answered with is the caller's. */
static server_infer_t *part(server_run_t *run)
{
    server_infer_t *parent = run->parent;
    run->ensemble->stats.running--;
    run->parent = NULL;
    run->ensemble = NULL;
    parent->run = NULL;
    server_infer_slot_give(parent);
    return parent;
}

static void cancel_stages(server_run_t *run, gpulet_app_set_t stages)
{
    gpulet_server_t *server = run->server;
    for (gpulet_app_set_t left = stages; left != 0; left &= left - 1) {
        const server_infer_t *stage = run->stages[__builtin_ctzll(left)];
        if (stage != NULL && stage->ticket != 0)
            server_brain_apply(
                server, gpulet_sched_on_cancel(server->sched, gpulet_clock_ns(), stage->ticket));
    }
}

/* The run has ended without an answer of its stages: what is still under way is called off. */
static server_infer_t *break_off(server_run_t *run, gpulet_app_set_t cancel)
{
    server_infer_t *parent = part(run); /* first: stages that are cancelled must find it so */
    cancel_stages(run, cancel);
    return parent;
}

/* Answers "step 'x': text". */
static void fail_whole(server_run_t *run, const gpulet_app_step_t *step, uint32_t stage,
                       gpulet_status_t status, const char *text)
{
    char message[GPULET_ERROR_TEXT_MAX];
    server_ensemble_t *e = run->ensemble;
    (void)snprintf(message, sizeof(message), "step '%.100s': %s", e->app->stages[stage].name, text);
    e->stats.failed++;
    server_infer_fail(break_off(run, step->cancel), status, message);
}

static void fail_stage(server_run_t *run, uint32_t stage, gpulet_status_t status, const char *text)
{
    gpulet_app_step_t step = gpulet_app_runs_stage_failed(run->server->app_runs, run->id, stage);
    assert(step.end == GPULET_APP_FAILED);
    fail_whole(run, &step, stage, status, text);
}

static void answer_whole(server_run_t *run, server_output_t *output)
{
    gpulet_tensor_view_t tensors[GPULET_MODEL_IO_MAX];
    gpulet_error_t err = {""};
    server_ensemble_t *e = run->ensemble;
    const uint64_t now_ns = gpulet_clock_ns();
    const bool in_time = run->deadline_ns >= now_ns;
    server_infer_t *parent = part(run);
    for (uint32_t i = 0; i < parent->layout.outputs_count; i++)
        tensors[i] = run->tensors[e->app->outputs[parent->layout.output[i]]].view;
    if (output != NULL) {
        output->refs++;
        run->output = output;
    }
    run->sending = true;
    parent->model->execution_count++;
    gpulet_status_t st = server_infer_send(parent, tensors, &run->times, sent, run, &err);
    if (st != GPULET_OK) {
        e->stats.failed++;
        server_infer_fail(parent, st, err.text);
        return;
    }
    e->stats.in_time += in_time;
    e->stats.late += !in_time;
}

/* ---- a stage begins ---- */

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
        run_tensor_t *tensor = &stage->run->tensors[s->inputs[link].tensor];
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
        run_tensor_t *t = &run->tensors[s->inputs[i].tensor];
        t->unread &= ~one(stage);
        if (t->unread == 0 && !app->tensors[s->inputs[i].tensor].wanted)
            drop_copy(run, t);
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

/* All of them, or none: where one cannot begin it is no use to run the others. The brain may refuse
 * them at once, which ends the run. */
static void submit_stages(server_run_t *run, gpulet_app_set_t stages)
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
            free_stage(made[i]);
        fail_stage(run, index, st, err.text);
        return;
    }
    for (gpulet_app_set_t left = stages; left != 0; left &= left - 1)
        release_read(run, (uint32_t)__builtin_ctzll(left));
    server_infer_submit_all(run->server, made, count);
}

/* ---- the beginning ---- */

static void take_client_inputs(server_run_t *run)
{
    const server_infer_t *parent = run->parent;
    const gpulet_app_t *app = run->ensemble->app;
    for (uint32_t i = 0; i < parent->layout.inputs_count; i++) {
        const gpulet_oip_input_t *input = &parent->request.inputs[parent->layout.request_input[i]];
        const gpulet_wire_tensor_t *t = server_infer_tensor(parent, i);
        run->tensors[app->inputs[i]].view =
            (gpulet_tensor_view_t){input->type, input->shape, parent->slot + t->offset, t->size};
    }
}

static void set_deadline(server_run_t *run)
{
    const server_infer_t *parent = run->parent;
    const uint64_t timeout_us = parent->request.timeout_us;
    uint64_t limit_ns =
        parent->model->slo_ms > 0 ? server_ns_of_ms(parent->model->slo_ms) : UINT64_MAX;
    if (timeout_us > 0 && timeout_us <= UINT64_MAX / 1000 && timeout_us * 1000 < limit_ns) {
        limit_ns = timeout_us * 1000;
        run->own_timeout = true;
    }
    run->deadline_ns =
        limit_ns >= UINT64_MAX - parent->arrival_ns ? UINT64_MAX : parent->arrival_ns + limit_ns;
}

/* Where the run could not be in time, as far as can be seen now, it had better not begin. */
static bool is_let_in(server_run_t *run)
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
    server_infer_refuse(part(run), GPULET_REJECT_PREDICTED_LATE, retry_after_ns, NULL);
    return false;
}

void server_ensemble_begin(server_infer_t *infer)
{
    server_ensemble_t *e = infer->model->ensemble;
    gpulet_app_step_t step;
    e->stats.offered++;
    server_run_t *run = create(infer);
    if (run == NULL) {
        e->stats.failed++;
        server_infer_slot_give(infer);
        server_infer_fail(infer, GPULET_E_UNAVAILABLE, "out of memory");
        return;
    }
    if (gpulet_app_runs_start(infer->server->app_runs, &run->id, &step, e->app) != GPULET_OK) {
        run->parent = NULL;
        leave(run);
        e->stats.rejected[GPULET_REJECT_QUEUE_FULL]++;
        server_infer_refuse(infer, GPULET_REJECT_QUEUE_FULL, 0, NULL);
        return;
    }
    e->stats.running++;
    infer->run = run;
    set_deadline(run);
    take_client_inputs(run);
    if (is_let_in(run))
        submit_stages(run, step.submit);
    leave(run);
}

void server_ensemble_gone(server_infer_t *infer)
{
    server_run_t *run = infer->run;
    gpulet_app_step_t step = gpulet_app_runs_cancel(run->server->app_runs, run->id);
    assert(step.end == GPULET_APP_GONE);
    run->ensemble->stats.cancelled++;
    enter(run);
    server_infer_fail(break_off(run, step.cancel), GPULET_E_CANCELLED, "the client is gone");
    leave(run);
}

/* ---- what becomes of a stage ---- */

bool server_ensemble_is_over(const server_infer_t *stage)
{
    return stage->run->parent == NULL;
}

void server_ensemble_stage_failed(server_infer_t *stage, gpulet_status_t status, const char *text)
{
    server_run_t *run = stage->run;
    const uint32_t index = stage->stage;
    enter(run);
    free_stage(stage);
    if (run->parent != NULL)
        fail_stage(run, index, status, text);
    leave(run);
}

void server_ensemble_stage_rejected(server_infer_t *stage, gpulet_reject_t reason,
                                    uint64_t retry_after_ns)
{
    server_run_t *run = stage->run;
    const uint32_t index = stage->stage;
    enter(run);
    free_stage(stage);
    if (run->parent != NULL) {
        gpulet_app_step_t step =
            gpulet_app_runs_stage_failed(run->server->app_runs, run->id, index);
        assert(step.end == GPULET_APP_FAILED);
        server_ensemble_t *e = run->ensemble;
        if (reason == GPULET_REJECT_DROPPED && run->own_timeout)
            reason = GPULET_REJECT_TIMEOUT;
        e->stats.rejected[reason]++;
        server_infer_refuse(break_off(run, step.cancel), reason, retry_after_ns,
                            e->app->stages[index].name);
    }
    leave(run);
}

static gpulet_status_t take_outputs(server_run_t *run, const server_infer_t *stage,
                                    const gpulet_action_t *action,
                                    const gpulet_worker_result_t *result, gpulet_error_t *err)
{
    const gpulet_app_stage_t *s = &run->ensemble->app->stages[stage->stage];
    const gpulet_model_io_t *io = &stage->model->entry->io;
    gpulet_status_t st = GPULET_OK;
    for (size_t i = 0; i < s->outputs_count && st == GPULET_OK; i++) {
        uint32_t output = 0;
        while (output < io->outputs_count &&
               strcmp(io->outputs[output].name, s->outputs[i].name) != 0)
            output++;
        if (output == io->outputs_count)
            return gpulet_fail(err, GPULET_E_INTERNAL, "model '%s' has no output '%s'",
                               stage->model->entry->name, s->outputs[i].name);
        st = server_infer_output(&run->tensors[s->outputs[i].tensor].view, stage, output, action,
                                 result, err);
    }
    return st;
}

/* Copies aside what is needed when the worker's outputs are gone. */
static gpulet_status_t keep_outputs(server_run_t *run, uint32_t stage, gpulet_error_t *err)
{
    const gpulet_app_t *app = run->ensemble->app;
    const gpulet_app_stage_t *s = &app->stages[stage];
    for (size_t i = 0; i < s->outputs_count; i++) {
        run_tensor_t *t = &run->tensors[s->outputs[i].tensor];
        if (t->unread == 0 && !app->tensors[s->outputs[i].tensor].wanted)
            continue;
        if (run->server->held_bytes + t->view.size > run->server->settings.input_mb << 20)
            return gpulet_fail(err, GPULET_E_UNAVAILABLE,
                               "no memory is free for tensors that wait for another step");
        t->copy = malloc(t->view.size > 0 ? t->view.size : 1);
        if (t->copy == NULL)
            return gpulet_fail(err, GPULET_E_UNAVAILABLE, "out of memory");
        if (t->view.size > 0)
            memcpy(t->copy, t->view.data, t->view.size);
        t->view.data = t->copy;
        run->held_bytes += t->view.size;
        run->server->held_bytes += t->view.size;
    }
    return GPULET_OK;
}

/* The run as a whole fails though no stage of it did. */
static void abandon(server_run_t *run, uint32_t stage, gpulet_status_t status, const char *text)
{
    gpulet_app_step_t step = gpulet_app_runs_cancel(run->server->app_runs, run->id);
    fail_whole(run, &step, stage, status, text);
}

static void go_on(server_run_t *run, uint32_t stage, server_output_t *output)
{
    gpulet_error_t err = {""};
    gpulet_app_step_t step = gpulet_app_runs_stage_done(run->server->app_runs, run->id, stage);
    if (step.end == GPULET_APP_DONE) {
        answer_whole(run, output);
        return;
    }
    submit_stages(run, step.submit);
    if (run->parent == NULL)
        return;
    gpulet_status_t st = keep_outputs(run, stage, &err);
    if (st != GPULET_OK)
        abandon(run, stage, st, err.text);
}

void server_ensemble_stage_answered(server_infer_t *stage, const gpulet_action_t *action,
                                    const gpulet_worker_result_t *result, server_output_t *output)
{
    server_run_t *run = stage->run;
    const uint32_t index = stage->stage;
    const server_times_t times = {action->u.reply.queue_ns, result->input_ns, result->exec_ns,
                                  result->output_ns};
    gpulet_error_t err = {""};
    gpulet_status_t st = GPULET_OK;
    enter(run);
    server_infer_count(stage, &times);
    if (run->parent != NULL)
        st = take_outputs(run, stage, action, result, &err);
    run->times.queue_ns += times.queue_ns;
    run->times.input_ns += times.input_ns;
    run->times.exec_ns += times.exec_ns;
    run->times.output_ns += times.output_ns;
    free_stage(stage);
    if (run->parent != NULL && st == GPULET_OK)
        go_on(run, index, output);
    else if (run->parent != NULL)
        fail_stage(run, index, st, err.text);
    leave(run);
}

void server_ensembles_close(gpulet_server_t *server)
{
    while (server->runs != NULL) {
        server_run_t *run = server->runs;
        for (uint32_t i = 0; i < GPULET_APP_STAGES_MAX; i++) {
            if (run->stages[i] != NULL)
                free_stage(run->stages[i]);
        }
        run->parent = NULL;
        run->busy = 0;
        run->sending = false;
        settle(run);
    }
    gpulet_app_runs_destroy(server->app_runs);
    server->app_runs = NULL;
}
