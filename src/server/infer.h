/* The object behind one inference request, shared by the files that carry it: infer.c reads the
 * request and hands it to the brain, infer_memory.c owns the memory, infer_answer.c writes the
 * answer.
 *
 * An infer object lives from server_infer_begin to server_infer_finished; the HTTP request it
 * serves lives exactly as long. Its id inside the brain is its address. */
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
    infer_state_t state;
    uint64_t arrival_ns;
    gpulet_ticket_t ticket;
    bool raw; /* Inference-Header-Content-Length: 0 */
    bool request_parsed;
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
};

/* From the pool; NULL when out of memory. */
server_infer_t *server_infer_take(gpulet_server_t *server);
/* Shared memory of at least size bytes for the request's inputs: infer->slot. E_FULL or E_NOMEM
 * when there is none. */
gpulet_status_t server_infer_slot_take(server_infer_t *infer, uint64_t size) GPULET_MUST_USE;
/* Nothing is fine. */
void server_infer_slot_give(server_infer_t *infer);
/* Answers with an error. */
void server_infer_fail(server_infer_t *infer, gpulet_status_t status, const char *text);

#endif
