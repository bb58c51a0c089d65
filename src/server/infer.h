/* The object behind one inference request, shared by the files that carry it: infer.c reads the
 * request and hands it to the brain, infer_memory.c owns the memory, infer_answer.c writes the
 * answer.
 *
 * An infer object lives from server_infer_begin to server_infer_finished; the HTTP request it
 * serves lives exactly as long. Its id inside the brain is its address. A stage of an ensemble is
 * one without an HTTP request: the ensemble's run made it, and hears what becomes of it. */
#ifndef GPULET_SERVER_INFER_H
#define GPULET_SERVER_INFER_H

#include "server/internal.h"

typedef enum infer_state {
    INFER_FREE,
    INFER_READING_JSON,
    INFER_READING_TENSOR,
    INFER_COLLECTING,
    INFER_QUEUED,
    INFER_ANSWERED
} infer_state_t;

/* Shared memory over GPULET_SLAB_SLOT_MAX: a memfd of its own, kept for the next request of its
 * size. */
typedef struct server_large {
    struct server_large *next;
    uint32_t segment;
    int fd;
    void *base;
    uint64_t size;
} server_large_t;

struct server_infer {
    gpulet_server_t *server;
    server_infer_t *next_free;
    server_model_t *model;
    gpulet_http_request_t *http;
    uint64_t number; /* among all requests; the log calls it that when the client has no name */
    infer_state_t state;
    uint64_t arrival_ns;
    gpulet_ticket_t ticket;
    bool raw; /* Inference-Header-Content-Length: 0 */
    bool request_parsed;
    bool named; /* errors name the request even if it has no id, as those of Triton's core do: all
                   but those of reading it */
    gpulet_oip_request_t request;
    gpulet_oip_layout_t layout;
    char *json;
    size_t json_size;
    size_t json_capacity;
    uint8_t *slot;
    uint64_t slot_offset;
    uint64_t slot_size;
    bool slot_taken;
    server_large_t *large;
    uint32_t next_input; /* index into request.inputs: the next one that may be binary */
    gpulet_buf_t head;
    gpulet_buf_t classes;
    server_run_t *run; /* of an ensemble: the request's own, or the one that this is a stage of */
    bool continues;    /* it was let in before, or what it is a stage of was */
    bool is_stage;     /* what follows is of stages alone */
    uint32_t stage;
    uint64_t deadline_ns; /* UINT64_MAX: none */
    uint32_t priority;
    bool late_serve;
};

/* From the pool; NULL when out of memory. */
server_infer_t *server_infer_take(gpulet_server_t *server);
/* Shared memory of at least size bytes for the request's inputs: infer->slot. E_FULL or E_NOMEM
 * when there is none. */
gpulet_status_t server_infer_slot_take(server_infer_t *infer, uint64_t size) GPULET_MUST_USE;
/* Nothing is fine. */
void server_infer_slot_give(server_infer_t *infer);
/* Lays the table and the tensors out in shared memory: infer->slot. E_FULL or E_NOMEM. */
gpulet_status_t server_infer_prepare(server_infer_t *infer) GPULET_MUST_USE;
/* Where the model's input (by the configuration) lies in the slot; valid while it is held. */
const gpulet_wire_tensor_t *server_infer_tensor(const server_infer_t *infer, uint32_t input);
/* Of the client's request, 0 is highest; otherwise: when it says nothing. */
uint32_t server_infer_priority(const server_infer_t *infer, uint32_t otherwise);
/* Hands the request to the brain, or begins an ensemble's run. */
void server_infer_submit(server_infer_t *infer);
/* Stages that begin together: all are admitted, or none is. */
void server_infer_submit_all(gpulet_server_t *server, server_infer_t **infers, uint32_t count);
/* The request's rows of an output (by the model file) of its batch. */
gpulet_status_t server_infer_output(gpulet_tensor_view_t *out, const server_infer_t *infer,
                                    uint32_t output, const gpulet_action_t *action,
                                    const gpulet_worker_result_t *result,
                                    gpulet_error_t *err) GPULET_MUST_USE;
/* Times of an answered request. */
typedef struct server_times {
    uint64_t queue_ns, input_ns, exec_ns, output_ns;
} server_times_t;
void server_infer_count(server_infer_t *infer, const server_times_t *times);
/* Answers with tensors[i] for the i-th output that is wanted (infer->layout), and counts. They lie
 * where they are until release(context) is called, once, whatever comes of it. */
gpulet_status_t server_infer_send(server_infer_t *infer, const gpulet_tensor_view_t *tensors,
                                  const server_times_t *times, void (*release)(void *context),
                                  void *context, gpulet_error_t *err) GPULET_MUST_USE;
/* What is known of how far a request came, for the log; zeros: nothing. */
typedef struct server_ran {
    uint64_t queue_ns; /* of an ensemble: of all its steps so far, as is exec_ns */
    uint64_t exec_ns;
    const char *gpulet; /* that ran it */
    uint64_t batch;     /* as the brain numbers them */
    const char *step;   /* of an ensemble: where it ended */
    bool failed;        /* in the engine */
} server_ran_t;
/* Answers with 503, or 413 where another try is of no use; ran NULL: it waited until now. */
void server_infer_refuse(server_infer_t *infer, gpulet_reject_t reason, uint64_t retry_after_ns,
                         const server_ran_t *ran);
/* Answers with an error. */
void server_infer_fail(server_infer_t *infer, gpulet_status_t status, const char *text);
/* Likewise for what failed on its way through a worker. */
void server_infer_fail_ran(server_infer_t *infer, gpulet_status_t status, const char *text,
                           const server_ran_t *ran);
/* The connection ended it before there was an answer of ours: its bytes did not come as they
 * should, or the server ends. */
void server_infer_cut_off(server_infer_t *infer);

/* request_log.c */
typedef enum server_end {
    SERVER_END_REFUSED,
    SERVER_END_LATE,
    SERVER_END_FAILED,
    SERVER_END_CANCELLED
} server_end_t;
/* Writes the line of a client's request, before it is finished; at most some a second for a model.
 *   request   the client's id in quotes: the body's, else the header x-request-id, else the trace
 *             id of traceparent; without any the server's own number
 *   reason    a label of gpulet_requests_missed_total; what is not counted there has one of
 *             nv_inference_request_failure
 *   batch     as in other lines of the log; "-": it was in none, as for gpulet
 *   step      of an ensemble: the one that was refused or failed
 *   error     what the client was answered, when it failed; NULL: nothing more to say */
void server_infer_log(const server_infer_t *infer, server_end_t end, const char *reason,
                      const server_ran_t *ran, const char *error);
/* Likewise of one that fails, or is cancelled, in the state that it is in; ran NULL: it has not
 * run. */
void server_infer_log_failure(const server_infer_t *infer, bool cancelled, const char *text,
                              const server_ran_t *ran);

#endif
