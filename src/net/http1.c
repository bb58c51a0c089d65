#include "net/http1.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

#include "base/parse.h"

enum { CLASS_VALUE = 1, CLASS_TARGET = 2, CLASS_TOKEN = 4 };

/* What a byte may be part of. N: nothing, V: a value, T: also a target, X: a value or a token, K:
 * all three. */
#define N 0
#define V CLASS_VALUE
#define T (CLASS_VALUE | CLASS_TARGET)
#define X (CLASS_VALUE | CLASS_TOKEN)
#define K (CLASS_VALUE | CLASS_TARGET | CLASS_TOKEN)
/* clang-format off */
static const uint8_t classes[256] = {
    N, N, N, N, N, N, N, N, N, V, N, N, N, N, N, N,
    N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
    V, K, V, X, K, K, K, K, T, T, K, K, T, K, K, T,
    K, K, K, K, K, K, K, K, K, K, T, T, V, T, V, T,
    T, K, K, K, K, K, K, K, K, K, K, K, K, K, K, K,
    K, K, K, K, K, K, K, K, K, K, K, T, V, T, X, K,
    X, K, K, K, K, K, K, K, K, K, K, K, K, K, K, K,
    K, K, K, K, K, K, K, K, K, K, K, T, K, T, K, N,
    V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
    V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
    V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
    V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
    V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
    V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
    V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
    V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
};
/* clang-format on */
#undef N
#undef V
#undef T
#undef X
#undef K

static bool all_of(const char *text, size_t size, uint8_t class)
{
    uint8_t common = class;
    for (size_t i = 0; i < size; i++)
        common &= classes[(uint8_t)text[i]];
    return common != 0;
}

bool gpulet_http1_value_valid(const char *text, size_t size)
{
    return all_of(text, size, CLASS_VALUE);
}

bool gpulet_http1_token_valid(const char *text, size_t size)
{
    return size > 0 && all_of(text, size, CLASS_TOKEN);
}

bool gpulet_http1_is(const char *text, size_t size, const char *word)
{
    return strlen(word) == size && strncasecmp(text, word, size) == 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

bool gpulet_http1_list_next(const char **at, const char *end, const char **element,
                            size_t *element_size)
{
    const char *p = *at;
    while (p < end && (is_blank(*p) || *p == ','))
        p++;
    const char *first = p;
    while (p < end && *p != ',')
        p++;
    const char *last = p;
    while (last > first && is_blank(last[-1]))
        last--;
    *at = p;
    *element = first;
    *element_size = (size_t)(last - first);
    return last > first;
}

static gpulet_http1_step_t refuse(gpulet_http1_head_t *head, int status, const char *text)
{
    head->status = status;
    head->text = text;
    return GPULET_HTTP1_FAILED;
}

void gpulet_http1_head_begin(gpulet_http1_head_t *head, gpulet_http1_field_t *fields,
                             uint32_t fields_max, uint32_t bytes_max)
{
    assert(bytes_max <= GPULET_HTTP1_HEAD_BYTES_MAX);
    memset(head, 0, sizeof(*head));
    head->fields = fields;
    head->fields_max = fields_max;
    head->bytes_max = bytes_max;
    head->path = UINT32_MAX;
    head->query = UINT32_MAX;
}

/* ---- request line ---- */

static gpulet_http_method_t method_of(const char *text, size_t size)
{
    if (size == 4 && memcmp(text, "POST", 4) == 0)
        return GPULET_HTTP_POST;
    if (size == 3 && memcmp(text, "GET", 3) == 0)
        return GPULET_HTTP_GET;
    if (size == 4 && memcmp(text, "HEAD", 4) == 0)
        return GPULET_HTTP_HEAD;
    return GPULET_HTTP_OTHER;
}

static gpulet_http1_step_t parse_version(gpulet_http1_head_t *head, const char *text, size_t size)
{
    if (size != 8 || memcmp(text, "HTTP/", 5) != 0 || text[5] < '0' || text[5] > '9' ||
        text[6] != '.' || text[7] < '0' || text[7] > '9')
        return refuse(head, 400, "malformed request line");
    if (text[5] != '1')
        return refuse(head, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
    head->minor_zero = text[7] == '0';
    head->close = head->minor_zero;
    return GPULET_HTTP1_DONE;
}

/* A host with an optional port: what may stand in Host and in an absolute target; userinfo may not.
 */
static bool authority_valid(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if ((classes[(uint8_t)text[i]] & CLASS_TARGET) == 0 || strchr("/?@,{|}", text[i]) != NULL)
            return false;
    }
    return true;
}

static bool escapes_valid(const char *text, size_t size)
{
    const char *end = text + size;
    for (const char *p = memchr(text, '%', size); p != NULL;
         p = memchr(p, '%', (size_t)(end - p))) {
        if (end - p < 3)
            return false;
        for (int i = 1; i <= 2; i++) {
            if (strchr("0123456789abcdefABCDEF", p[i]) == NULL || p[i] == '\0')
                return false;
        }
        p += 3;
    }
    return true;
}

/* Path and query of a target that begins at `at`; both become texts, since the byte at `end` is the
 * blank before the version. */
static void set_path(gpulet_http1_head_t *head, char *data, uint32_t at, uint32_t end)
{
    char *mark = memchr(data + at, '?', end - at);
    data[end] = '\0';
    if (mark == NULL || mark != data + at)
        head->path = end > at ? at : UINT32_MAX;
    if (mark != NULL) {
        *mark = '\0';
        head->query = (uint32_t)(mark - data) + 1;
    }
}

static gpulet_http1_step_t parse_absolute(gpulet_http1_head_t *head, char *data, uint32_t at,
                                          uint32_t end)
{
    uint32_t scheme = 0;
    if (end - at > 7 && strncasecmp(data + at, "http://", 7) == 0)
        scheme = 7;
    else if (end - at > 8 && strncasecmp(data + at, "https://", 8) == 0)
        scheme = 8;
    else
        return refuse(head, 400, "malformed request target");
    uint32_t host = at + scheme;
    uint32_t stop = host;
    while (stop < end && data[stop] != '/' && data[stop] != '?')
        stop++;
    if (stop == host || !authority_valid(data + host, stop - host))
        return refuse(head, 400, "malformed host in the request target");
    set_path(head, data, stop, end);
    return GPULET_HTTP1_DONE;
}

static gpulet_http1_step_t parse_target(gpulet_http1_head_t *head, char *data, uint32_t at,
                                        uint32_t end, bool options)
{
    if (end == at || !all_of(data + at, end - at, CLASS_TARGET) ||
        !escapes_valid(data + at, end - at))
        return refuse(head, 400, "malformed request target");
    if (data[at] == '/') {
        set_path(head, data, at, end);
        return GPULET_HTTP1_DONE;
    }
    if (options && end - at == 1 && data[at] == '*') {
        set_path(head, data, at, end);
        return GPULET_HTTP1_DONE;
    }
    return parse_absolute(head, data, at, end);
}

/* method SP target SP version; end is where the line's CR is. */
static gpulet_http1_step_t parse_request_line(gpulet_http1_head_t *head, char *data, uint32_t begin,
                                              uint32_t end)
{
    const char *line = data + begin;
    const char *first = memchr(line, ' ', end - begin);
    if (first == NULL || !gpulet_http1_token_valid(line, (size_t)(first - line)))
        return refuse(head, 400, "malformed request line");
    uint32_t target = (uint32_t)(first + 1 - data);
    const char *second = memchr(data + target, ' ', end - target);
    if (second == NULL)
        return refuse(head, 400, "malformed request line");
    uint32_t target_end = (uint32_t)(second - data);
    gpulet_http1_step_t step = parse_version(head, data + target_end + 1, end - (target_end + 1));
    if (step != GPULET_HTTP1_DONE)
        return step;
    size_t method_size = (size_t)(first - line);
    head->method = method_of(line, method_size);
    if (method_size == 7 && memcmp(line, "CONNECT", 7) == 0)
        return refuse(head, 501, "CONNECT is not supported");
    return parse_target(head, data, target, target_end,
                        method_size == 7 && memcmp(line, "OPTIONS", 7) == 0);
}

/* ---- fields that decide about the message ---- */

static gpulet_http1_step_t take_length(gpulet_http1_head_t *head, const char *value, size_t size)
{
    const char *at = value;
    const char *end = value + size;
    const char *element;
    size_t element_size;
    bool any = false;
    if (size > 0 && (value[0] == ',' || value[size - 1] == ','))
        return refuse(head, 400, "malformed Content-Length");
    while (gpulet_http1_list_next(&at, end, &element, &element_size)) {
        uint64_t length = 0;
        gpulet_status_t st = gpulet_parse_u64(&length, element, element_size);
        if (st == GPULET_E_TOO_LARGE)
            return refuse(head, 413, "the body is too large");
        if (st != GPULET_OK)
            return refuse(head, 400, "malformed Content-Length");
        if (head->has_length && head->length != length)
            return refuse(head, 400, "several different Content-Length");
        head->has_length = true;
        head->length = length;
        any = true;
    }
    return any ? GPULET_HTTP1_DONE : refuse(head, 400, "malformed Content-Length");
}

static gpulet_http1_step_t take_transfer(gpulet_http1_head_t *head, const char *value, size_t size)
{
    const char *at = value;
    const char *element;
    size_t element_size;
    head->has_te = true;
    while (gpulet_http1_list_next(&at, value + size, &element, &element_size)) {
        if (head->te_ended)
            return refuse(head, 400, "chunked is not the last transfer coding");
        if (gpulet_http1_is(element, element_size, "chunked"))
            head->te_ended = true;
        else
            head->te_unknown = true;
    }
    return GPULET_HTTP1_DONE;
}

static gpulet_http1_step_t take_connection(gpulet_http1_head_t *head, const char *value,
                                           size_t size)
{
    const char *at = value;
    const char *element;
    size_t element_size;
    while (gpulet_http1_list_next(&at, value + size, &element, &element_size)) {
        if (gpulet_http1_is(element, element_size, "close"))
            head->close = true;
    }
    return GPULET_HTTP1_DONE;
}

static gpulet_http1_step_t take_coding(gpulet_http1_head_t *head, const char *value, size_t size)
{
    const char *at = value;
    const char *element;
    size_t element_size;
    while (gpulet_http1_list_next(&at, value + size, &element, &element_size)) {
        gpulet_http1_coding_t coding = GPULET_HTTP1_CODING_UNKNOWN;
        if (gpulet_http1_is(element, element_size, "identity"))
            continue;
        if (gpulet_http1_is(element, element_size, "gzip") ||
            gpulet_http1_is(element, element_size, "x-gzip"))
            coding = GPULET_HTTP1_GZIP;
        else if (gpulet_http1_is(element, element_size, "deflate"))
            coding = GPULET_HTTP1_DEFLATE;
        /* One coding on top of another is not undone here. */
        head->coding = head->coding == GPULET_HTTP1_IDENTITY ? coding : GPULET_HTTP1_CODING_UNKNOWN;
    }
    return GPULET_HTTP1_DONE;
}

static gpulet_http1_step_t take_expect(gpulet_http1_head_t *head, const char *value, size_t size)
{
    if (size == 0) /* Some clients send the name alone to keep their library from asking. */
        return GPULET_HTTP1_DONE;
    if (!gpulet_http1_is(value, size, "100-continue"))
        return refuse(head, 417, "only 100-continue can be expected");
    head->expects_continue = true;
    return GPULET_HTTP1_DONE;
}

static gpulet_http1_step_t take_host(gpulet_http1_head_t *head, const char *value, size_t size)
{
    if (++head->hosts > 1)
        return refuse(head, 400, "several Host fields");
    if (!authority_valid(value, size))
        return refuse(head, 400, "malformed Host");
    return GPULET_HTTP1_DONE;
}

static gpulet_http1_step_t take_field(gpulet_http1_head_t *head, const char *data,
                                      const gpulet_http1_field_t *field)
{
    static const struct {
        const char *name;
        gpulet_http1_step_t (*take)(gpulet_http1_head_t *head, const char *value, size_t size);
    } known[] = {
        {"host", take_host},
        {"connection", take_connection},
        {"content-length", take_length},
        {"expect", take_expect},
        {"content-encoding", take_coding},
        {"transfer-encoding", take_transfer},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        /* The first letter alone tells most fields from these. */
        if ((data[field->name] | 0x20) == known[i].name[0] &&
            gpulet_http1_is(data + field->name, field->name_size, known[i].name))
            return known[i].take(head, data + field->value, field->value_size);
    }
    return GPULET_HTTP1_DONE;
}

static gpulet_http1_step_t parse_field(gpulet_http1_head_t *head, char *data, uint32_t begin,
                                       uint32_t end)
{
    if (is_blank(data[begin]))
        return refuse(head, 400, "folded field");
    if (head->fields_count == head->fields_max)
        return refuse(head, 431, "too many fields");
    const char *colon = memchr(data + begin, ':', end - begin);
    if (colon == NULL)
        return refuse(head, 400, "malformed field");
    gpulet_http1_field_t field = {.name = begin, .name_size = (uint32_t)(colon - data) - begin};
    if (!gpulet_http1_token_valid(data + begin, field.name_size))
        return refuse(head, 400, "malformed field name");
    uint32_t first = (uint32_t)(colon - data) + 1;
    uint32_t last = end;
    while (first < last && is_blank(data[first]))
        first++;
    while (last > first && is_blank(data[last - 1]))
        last--;
    field.value = first;
    field.value_size = last - first;
    if (!gpulet_http1_value_valid(data + first, last - first))
        return refuse(head, 400, "malformed field value");
    data[begin + field.name_size] = '\0';
    data[last] = '\0';
    head->fields[head->fields_count++] = field;
    return take_field(head, data, &field);
}

/* What only the whole head can tell. */
static gpulet_http1_step_t finish(gpulet_http1_head_t *head)
{
    if (head->hosts == 0 && !head->minor_zero)
        return refuse(head, 400, "Host is missing");
    if (head->has_te) {
        if (head->minor_zero)
            return refuse(head, 400, "Transfer-Encoding in HTTP/1.0");
        if (head->has_length)
            return refuse(head, 400, "both Content-Length and Transfer-Encoding");
        if (head->te_unknown)
            return refuse(head, 501, "chunked is the only transfer coding here");
        if (!head->te_ended)
            return refuse(head, 400, "malformed Transfer-Encoding");
        head->chunked = true;
    }
    if (head->minor_zero)
        head->expects_continue = false;
    return GPULET_HTTP1_DONE;
}

gpulet_http1_step_t gpulet_http1_head_parse(gpulet_http1_head_t *head, char *data, size_t size)
{
    size_t visible = size < head->bytes_max ? size : head->bytes_max;
    for (;;) {
        const char *newline =
            visible > head->scan ? memchr(data + head->scan, '\n', visible - head->scan) : NULL;
        if (newline == NULL) {
            head->scan = (uint32_t)visible;
            if (size < head->bytes_max)
                return GPULET_HTTP1_MORE;
            return head->line == 0 ? refuse(head, 414, "the request line is too long")
                                   : refuse(head, 431, "the head is too large");
        }
        uint32_t begin = head->line;
        uint32_t end = (uint32_t)(newline - data);
        if (end == begin || data[end - 1] != '\r')
            return refuse(head, 400, "a line does not end with CR LF");
        head->line = end + 1;
        head->scan = end + 1;
        end--;
        gpulet_http1_step_t step;
        if (begin == 0) {
            step = parse_request_line(head, data, begin, end);
        } else if (end == begin) {
            head->size = head->line;
            return finish(head);
        } else {
            step = parse_field(head, data, begin, end);
        }
        if (step != GPULET_HTTP1_DONE)
            return step;
    }
}

const gpulet_http1_field_t *gpulet_http1_head_find(const gpulet_http1_head_t *head,
                                                   const char *data, const char *name)
{
    size_t size = strlen(name);
    for (uint32_t i = 0; i < head->fields_count; i++) {
        const gpulet_http1_field_t *field = &head->fields[i];
        if (field->name_size == size && strncasecmp(data + field->name, name, size) == 0)
            return field;
    }
    return NULL;
}
