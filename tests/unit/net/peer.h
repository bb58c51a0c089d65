/* A server of this library and clients of it in one thread: a client's wait turns the server's
 * loop. What the application does depends on the path; what it saw is counted. */
#ifndef TEST_NET_PEER_H
#define TEST_NET_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "net/http.h"

struct event_base;

enum { WORLD_KEPT_MAX = 8 };

typedef struct world {
    struct event_base *base;
    gpulet_http_server_t *server;
    uint16_t port;
    /* what was seen */
    uint32_t requests;
    uint32_t filled;
    uint32_t bodies;
    uint32_t gone;
    uint32_t finished;
    uint32_t released;
    gpulet_buf_t last; /* "POST /echo q" of the last request */
    /* what the application holds */
    gpulet_http_request_t *kept[WORLD_KEPT_MAX]; /* of /later, not answered */
    uint32_t kept_count;
    char *memory; /* of /into and /big */
    size_t memory_size;
    size_t into_at;
    uint64_t collect_max;
} world_t;

/*  /hello    answers at once, whatever the body
 *  /echo     collects the body and sends it back
 *  /into     reads the body by body_into in pieces and sends it back from where it lies
 *  /big      sends memory_size bytes of memory, with release
 *  /json     4 KiB of JSON
 *  /later    is kept until world_answer
 *  /close    asks for the connection to be closed
 *  /fields   sends a field with a line end in its value */
void world_open(world_t *world, const gpulet_http_limits_t *limits);
void world_close(world_t *world);
/* Turns the loop once, waiting for something to happen; fails the test when nothing good comes of
 * it for long. */
void world_turn(world_t *world);
void world_answer(world_t *world, uint32_t index, const char *text);
/* Turns until *value is at least least. */
void world_until(world_t *world, const uint32_t *value, uint32_t least);

typedef struct peer {
    world_t *world;
    int fd;
    gpulet_buf_t in;
    bool eof;
} peer_t;

typedef struct answer {
    int status;
    char *head;
    char *body;
    size_t body_size;
} answer_t;

void peer_open(peer_t *peer, world_t *world);
void peer_close(peer_t *peer);
void peer_reset(peer_t *peer); /* closes by RST */
void peer_send(peer_t *peer, const void *data, size_t size);
void peer_say(peer_t *peer, const char *text);
/* Takes the next answer. head_only: it has no body whatever its length says. */
void peer_take(answer_t *answer, peer_t *peer, bool head_only);
void peer_expect(peer_t *peer, int status, const char *body);
/* Turns until the server has closed; nothing more may have come. */
void peer_expect_end(peer_t *peer);
bool answer_has(const answer_t *answer, const char *line);
void answer_free(answer_t *answer);

#endif
