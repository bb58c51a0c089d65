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

/* ---- memory ---- */

void server_run_drop_copy(server_run_t *run, server_run_tensor_t *t)
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
        server_run_drop_copy(run, &run->tensors[i]);
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

void server_run_free_stage(server_infer_t *stage)
{
    server_run_t *run = stage->run;
    run->stages[stage->stage] = NULL;
    run->under_way--;
    stage->state = INFER_ANSWERED;
    server_infer_finished(stage);
}

/* ---- the end ---- */

/* The parent leaves the run; what it is answered with is the caller's. */
server_infer_t *server_run_part(server_run_t *run)
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
    server_infer_t *parent =
        server_run_part(run); /* first: stages that are cancelled must find it so */
    cancel_stages(run, cancel);
    return parent;
}

/* How far the run came, which ended at that stage. */
static server_ran_t ran_until(const server_run_t *run, uint32_t stage)
{
    return (server_ran_t){.queue_ns = run->times.queue_ns,
                          .exec_ns = run->times.exec_ns,
                          .step = run->ensemble->app->stages[stage].name};
}

/* Answers "step 'x': text". */
static void fail_whole(server_run_t *run, const gpulet_app_step_t *step, uint32_t stage,
                       gpulet_status_t status, const char *text)
{
    char message[GPULET_ERROR_TEXT_MAX];
    server_ensemble_t *e = run->ensemble;
    (void)snprintf(message, sizeof(message), "step '%.100s': %s", e->app->stages[stage].name, text);
    e->stats.failed++;
    const server_ran_t ran = ran_until(run, stage);
    server_infer_fail_ran(break_off(run, step->cancel), status, message, &ran);
}

void server_run_fail_stage(server_run_t *run, uint32_t stage, gpulet_status_t status,
                           const char *text)
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
    server_infer_t *parent = server_run_part(run);
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
    if (!in_time) {
        const server_ran_t ran = {.queue_ns = run->times.queue_ns, .exec_ns = run->times.exec_ns};
        server_infer_log(parent, SERVER_END_LATE, "late", &ran, NULL);
    }
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
        parent->model->slo_ms > 0 ? gpulet_duration_ns(parent->model->slo_ms) : UINT64_MAX;
    if (timeout_us > 0 && timeout_us <= UINT64_MAX / 1000 && timeout_us * 1000 < limit_ns) {
        limit_ns = timeout_us * 1000;
        run->own_timeout = true;
    }
    run->deadline_ns =
        limit_ns >= UINT64_MAX - parent->arrival_ns ? UINT64_MAX : parent->arrival_ns + limit_ns;
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
    if (server_run_is_let_in(run))
        server_run_submit(run, step.submit);
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
    server_run_free_stage(stage);
    if (run->parent != NULL)
        server_run_fail_stage(run, index, status, text);
    leave(run);
}

void server_ensemble_stage_rejected(server_infer_t *stage, gpulet_reject_t reason,
                                    uint64_t retry_after_ns)
{
    server_run_t *run = stage->run;
    const uint32_t index = stage->stage;
    enter(run);
    server_run_free_stage(stage);
    if (run->parent != NULL) {
        gpulet_app_step_t step =
            gpulet_app_runs_stage_failed(run->server->app_runs, run->id, index);
        assert(step.end == GPULET_APP_FAILED);
        server_ensemble_t *e = run->ensemble;
        if (reason == GPULET_REJECT_DROPPED && run->own_timeout)
            reason = GPULET_REJECT_TIMEOUT;
        e->stats.rejected[reason]++;
        const server_ran_t ran = ran_until(run, index);
        server_infer_refuse(break_off(run, step.cancel), reason, retry_after_ns, &ran);
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
        server_run_tensor_t *t = &run->tensors[s->outputs[i].tensor];
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
    server_run_submit(run, step.submit);
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
    server_run_free_stage(stage);
    if (run->parent != NULL && st == GPULET_OK)
        go_on(run, index, output);
    else if (run->parent != NULL)
        server_run_fail_stage(run, index, st, err.text);
    leave(run);
}

void server_ensembles_close(gpulet_server_t *server)
{
    while (server->runs != NULL) {
        server_run_t *run = server->runs;
        for (uint32_t i = 0; i < GPULET_APP_STAGES_MAX; i++) {
            if (run->stages[i] != NULL)
                server_run_free_stage(run->stages[i]);
        }
        run->parent = NULL;
        run->busy = 0;
        run->sending = false;
        settle(run);
    }
    gpulet_app_runs_destroy(server->app_runs);
    server->app_runs = NULL;
}
