/* Memory of requests: the objects themselves, and the shared memory that their inputs lie in. */
#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#include <sys/mman.h>

#include "server/infer.h"

enum { JSON_CLASS_MAX_KEPT = 1 << 16, LARGE_KEPT_BYTES = 128 << 20 };

server_infer_t *server_infer_take(gpulet_server_t *server)
{
    server_infer_t *infer = server->infer_free;
    if (infer != NULL) {
        server->infer_free = infer->next_free;
    } else if ((infer = calloc(1, sizeof(*infer))) == NULL) {
        return NULL;
    }
    infer->server = server;
    infer->next_free = NULL;
    infer->run = NULL;
    infer->continues = false;
    infer->is_stage = false;
    server->infers_open++;
    infer->number = ++server->infers_total;
    return infer;
}

static void large_destroy(gpulet_server_t *server, server_large_t *large)
{
    for (server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (g->worker != NULL && !g->lost)
            gpulet_worker_forget_large(g->worker, large->segment);
    }
    server->large_bytes -= large->size;
    (void)munmap(large->base, large->size);
    (void)close(large->fd);
    free(large);
}

static server_large_t *large_take(gpulet_server_t *server, uint64_t size)
{
    const uint64_t bytes_max = server->settings.input_mb << 20;
    uint64_t rounded = GPULET_SLAB_SLOT_MAX;
    gpulet_error_t err;
    while (rounded < size)
        rounded *= 2;
    for (server_large_t **at = &server->large_free; *at != NULL; at = &(*at)->next) {
        if ((*at)->size == rounded) {
            server_large_t *found = *at;
            *at = found->next;
            return found;
        }
    }
    /* Kept ones of other sizes must not stand in the way of what is wanted now. */
    while (server->large_bytes + rounded > bytes_max && server->large_free != NULL) {
        server_large_t *idle = server->large_free;
        server->large_free = idle->next;
        large_destroy(server, idle);
    }
    if (server->large_bytes + rounded > bytes_max)
        return NULL;
    server_large_t *large = calloc(1, sizeof(*large));
    if (large == NULL ||
        gpulet_large_create(&large->fd, &large->base, "gpulet-input", rounded, &err) != GPULET_OK) {
        free(large);
        return NULL;
    }
    large->segment = ++server->large_next;
    large->size = rounded;
    server->large_bytes += rounded;
    return large;
}

static void large_give(gpulet_server_t *server, server_large_t *large)
{
    uint64_t kept = 0;
    for (const server_large_t *l = server->large_free; l != NULL; l = l->next)
        kept += l->size;
    if (kept + large->size > LARGE_KEPT_BYTES) {
        large_destroy(server, large);
        return;
    }
    large->next = server->large_free;
    server->large_free = large;
}

void server_infer_slot_give(server_infer_t *infer)
{
    if (infer->large != NULL)
        large_give(infer->server, infer->large);
    else if (infer->slot_taken)
        gpulet_slab_free(infer->model->inputs->slab, infer->slot_offset);
    infer->large = NULL;
    infer->slot_taken = false;
    infer->slot = NULL;
}

gpulet_status_t server_infer_slot_take(server_infer_t *infer, uint64_t size)
{
    gpulet_server_t *server = infer->server;
    server_model_t *model = infer->model;
    gpulet_error_t err;
    infer->slot_size = size;
    if (server_model_inputs(server, model, &err) != GPULET_OK)
        return GPULET_E_NOMEM;
    if (size > GPULET_SLAB_SLOT_MAX) {
        if ((infer->large = large_take(server, size)) == NULL)
            return GPULET_E_FULL;
        infer->slot = infer->large->base;
        infer->slot_offset = 0;
        return GPULET_OK;
    }
    gpulet_status_t st = gpulet_slab_alloc(&infer->slot_offset, model->inputs->slab, size);
    if (st != GPULET_OK)
        return st;
    infer->slot_taken = true;
    infer->slot = (uint8_t *)gpulet_slab_base(model->inputs->slab) + infer->slot_offset;
    return GPULET_OK;
}

void server_infer_finished(server_infer_t *infer)
{
    gpulet_server_t *server = infer->server;
    assert(infer->state != INFER_FREE && (infer->state != INFER_QUEUED || server->stop));
    if (infer->state != INFER_ANSWERED)
        server_infer_cut_off(infer);
    server_infer_slot_give(infer);
    if (infer->request_parsed)
        gpulet_oip_request_deinit(&infer->request);
    infer->request_parsed = false;
    infer->named = false;
    if (infer->json_capacity > JSON_CLASS_MAX_KEPT) {
        free(infer->json);
        infer->json = NULL;
        infer->json_capacity = 0;
    }
    if (infer->head.capacity > JSON_CLASS_MAX_KEPT)
        gpulet_buf_deinit(&infer->head);
    if (infer->classes.capacity > JSON_CLASS_MAX_KEPT)
        gpulet_buf_deinit(&infer->classes);
    gpulet_buf_clear(&infer->head);
    gpulet_buf_clear(&infer->classes);
    infer->state = INFER_FREE;
    infer->http = NULL;
    infer->model->infers_open--;
    infer->model = NULL;
    infer->next_free = server->infer_free;
    server->infer_free = infer;
    server->infers_open--;
}

void server_infer_close_all(gpulet_server_t *server)
{
    while (server->infer_free != NULL) {
        server_infer_t *infer = server->infer_free;
        server->infer_free = infer->next_free;
        gpulet_buf_deinit(&infer->head);
        gpulet_buf_deinit(&infer->classes);
        free(infer->json);
        free(infer);
    }
    while (server->large_free != NULL) {
        server_large_t *large = server->large_free;
        server->large_free = large->next;
        large_destroy(server, large);
    }
}
