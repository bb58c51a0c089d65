/* `gpulet top`: what a running server does, live. The picture is drawn by view/top.c, the server is
 * asked by cmd_top_poll.c, the terminal is driven by cmd_top_terminal.c; here is the loop. */
#include <errno.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "client/http_client.h"
#include "cmd/cmd.h"
#include "cmd/cmd_terminal.h"
#include "cmd/cmd_top_poll.h"
#include "cmd/cmd_top_terminal.h"
#include "view/top.h"

enum { LOOK_MS = 250 /* the time since a problem is shown anew so often */, INPUTS = 2 };

typedef struct top_settings {
    char *url;
    double interval_s;
    bool ascii;
    bool once;
    bool help;
} top_settings_t;

#define AT(field) offsetof(top_settings_t, field)
#define ANY       1, 0

const gpulet_option_t cmd_top_options[] = {
    {"url", GPULET_OPTION_STRING, AT(url), "http://127.0.0.1:8000", ANY, "URL", "the server",
     "Options"},
    {"interval-s", GPULET_OPTION_F64, AT(interval_s), "1", 0.05, 3600, "S", "between two looks",
     NULL},
    {"ascii", GPULET_OPTION_BOOL, AT(ascii), NULL, ANY, NULL,
     "no other characters [as the locale says]", NULL},
    {"once", GPULET_OPTION_BOOL, AT(once), NULL, ANY, NULL, "print one picture on stdout and end",
     NULL},
    {"help", GPULET_OPTION_BOOL, AT(help), NULL, ANY, NULL, "print this", NULL},
    {NULL, GPULET_OPTION_BOOL, 0, NULL, ANY, NULL, NULL, NULL},
};

static volatile sig_atomic_t told_to_end;

static void on_end(int number)
{
    (void)number;
    told_to_end = 1;
}

static int utc_offset_s(void)
{
    const time_t now = time(NULL);
    struct tm parts = {0};
    return localtime_r(&now, &parts) != NULL ? (int)parts.tm_gmtoff : 0;
}

/* Everything but what the keys choose. */
static void look_at(gpulet_top_t *top, const top_poll_t *poll, uint64_t now_ns)
{
    const top_poll_view_t v = top_poll_view(poll);
    top->now = v.now;
    top->before = v.before;
    top->log = v.log;
    top->problem = v.problem;
    top->problem_s =
        v.problem != NULL ? (double)(now_ns - v.problem_since_ns) / (double)GPULET_NS_PER_S : 0;
}

/* ---- once ---- */

static gpulet_status_t print_picture(gpulet_top_t *top, bool utf8, gpulet_error_t *err)
{
    gpulet_screen_t screen;
    gpulet_buf_t out = GPULET_BUF_INIT;
    gpulet_status_t st =
        gpulet_screen_init(&screen, cmd_terminal_style().width, gpulet_top_rows(top), utf8);
    if (st == GPULET_OK)
        st = gpulet_top_draw(&screen, top, NULL);
    if (st == GPULET_OK)
        st = gpulet_screen_text(&out, &screen);
    if (st != GPULET_OK)
        (void)gpulet_fail(err, st, "out of memory");
    else if (fwrite(out.data, 1, out.size, stdout) != out.size || fflush(stdout) != 0)
        st = gpulet_fail(err, GPULET_E_IO, "standard output: %s", strerror(errno));
    gpulet_buf_deinit(&out);
    gpulet_screen_deinit(&screen);
    return st;
}

/* Two looks, so that there is something to count what happens from. */
static gpulet_status_t run_once(gpulet_top_t *top, top_poll_t *poller, bool utf8,
                                gpulet_error_t *err)
{
    for (;;) {
        uint64_t now_ns = gpulet_clock_ns();
        top_poll_step(poller, now_ns, true);
        const top_poll_view_t v = top_poll_view(poller);
        if (v.problem != NULL)
            return gpulet_fail(err, GPULET_E_UNAVAILABLE, "%s: %s", top->url, v.problem);
        if (v.before != NULL && !top_poll_busy(poller))
            break;
        struct pollfd fd = top_poll_wait(poller);
        const uint64_t due_ns = top_poll_due_ns(poller);
        const uint64_t left_ms = due_ns > now_ns ? (due_ns - now_ns) / GPULET_NS_PER_MS + 1 : 0;
        (void)poll(&fd, 1, (int)left_ms);
    }
    look_at(top, poller, gpulet_clock_ns());
    return print_picture(top, utf8, err);
}

/* ---- live ---- */

typedef struct live {
    gpulet_top_t top;
    top_poll_t *poller;
    bool utf8;
    size_t page;
    uint64_t looks; /* that the picture shows */
} live_t;

static size_t *scroll_of(live_t *l)
{
    return &l->top.scroll[l->top.focus];
}

static void scroll(live_t *l, top_key_t key)
{
    size_t *at = scroll_of(l);
    const size_t step = key == TOP_KEY_PAGE_UP || key == TOP_KEY_PAGE_DOWN ? l->page : 1;
    if (key == TOP_KEY_HOME)
        *at = 0;
    else if (key == TOP_KEY_END)
        *at = SIZE_MAX / 2; /* brought back to the last page */
    else if (key == TOP_KEY_UP || key == TOP_KEY_PAGE_UP)
        *at = *at > step ? *at - step : 0;
    else
        *at += step;
}

/* False: to the end. */
static bool handle_key(live_t *l, top_key_t key)
{
    switch (key) {
    case TOP_KEY_QUIT:
        return false;
    case TOP_KEY_PAUSE:
        l->top.paused = !l->top.paused;
        break;
    case TOP_KEY_SORT:
        l->top.sort = (gpulet_top_sort_t)((l->top.sort + 1) % GPULET_TOP_SORT_COUNT);
        break;
    case TOP_KEY_HELP:
        l->top.help = !l->top.help;
        break;
    case TOP_KEY_SECTION:
        l->top.focus = (gpulet_top_section_t)((l->top.focus + 1) % GPULET_TOP_SECTIONS);
        break;
    case TOP_KEY_UP:
    case TOP_KEY_DOWN:
    case TOP_KEY_PAGE_UP:
    case TOP_KEY_PAGE_DOWN:
    case TOP_KEY_HOME:
    case TOP_KEY_END:
        scroll(l, key);
        break;
    case TOP_KEY_NONE:
    case TOP_KEY_RESIZE:
    case TOP_KEY_REDRAW:
    case TOP_KEY_OTHER:
        break;
    }
    return true;
}

static gpulet_status_t draw(live_t *l, bool all_anew, uint64_t now_ns)
{
    gpulet_screen_t screen;
    size_t width = 0;
    size_t height = 0;
    top_terminal_size(&width, &height);
    gpulet_status_t st = gpulet_screen_init(&screen, width, height, l->utf8);
    if (st != GPULET_OK)
        return st;
    look_at(&l->top, l->poller, now_ns);
    st = gpulet_top_draw(&screen, &l->top, &l->page);
    if (st == GPULET_OK)
        top_terminal_show(&screen, all_anew);
    gpulet_screen_deinit(&screen);
    return st;
}

/* Waits for a key, the server or time; false when the terminal is gone. */
static bool wait_for_anything(const live_t *l, uint64_t now_ns)
{
    struct pollfd fds[INPUTS] = {{.fd = STDIN_FILENO, .events = POLLIN}, top_poll_wait(l->poller)};
    const uint64_t due_ns = top_poll_due_ns(l->poller);
    const uint64_t left_ms = due_ns > now_ns ? (due_ns - now_ns) / GPULET_NS_PER_MS + 1 : 0;
    const bool idle = l->top.paused && !top_poll_busy(l->poller);
    int rc = poll(fds, INPUTS, idle || left_ms > LOOK_MS ? LOOK_MS : (int)left_ms);
    return rc <= 0 || (fds[0].revents & (POLLHUP | POLLERR | POLLNVAL)) == 0;
}

static gpulet_status_t run_live(live_t *l, gpulet_error_t *err)
{
    bool draw_now = true;
    bool all_anew = false;
    gpulet_status_t st = GPULET_OK;
    while (st == GPULET_OK && !told_to_end) {
        uint64_t now_ns = gpulet_clock_ns();
        top_poll_step(l->poller, now_ns, !l->top.paused);
        const top_poll_view_t v = top_poll_view(l->poller);
        if (draw_now || v.looks != l->looks || v.problem != NULL)
            st = draw(l, all_anew, now_ns);
        l->looks = v.looks;
        draw_now = all_anew = false;
        if (st != GPULET_OK || !wait_for_anything(l, now_ns))
            break;
        for (top_key_t key = top_terminal_key(); key != TOP_KEY_NONE; key = top_terminal_key()) {
            if (!handle_key(l, key))
                return GPULET_OK;
            draw_now = true;
            all_anew |= key == TOP_KEY_REDRAW;
        }
    }
    return st == GPULET_OK ? GPULET_OK : gpulet_fail(err, st, "out of memory");
}

static gpulet_status_t run_in_terminal(live_t *l, gpulet_error_t *err)
{
    struct sigaction end = {.sa_handler = on_end};
    gpulet_status_t st = top_terminal_open(err);
    if (st != GPULET_OK)
        return st;
    /* After ncurses has set its own, which would leave at once. */
    (void)sigaction(SIGINT, &end, NULL);
    (void)sigaction(SIGTERM, &end, NULL);
    (void)sigaction(SIGHUP, &end, NULL);
    st = run_live(l, err);
    top_terminal_close();
    return st;
}

int cmd_top(int argc, char **argv)
{
    top_settings_t s = {0};
    gpulet_url_t url;
    gpulet_error_t err = {"out of memory"};
    int words = 0;
    int exit_code = CMD_DONE;
    if (!cmd_parse(cmd_find("top"), &s, argc, argv, &words, &exit_code))
        return exit_code;
    (void)setlocale(LC_CTYPE, "");
    live_t l = {.top = {.url = s.url, .utc_offset_s = utc_offset_s(), .focus = GPULET_TOP_MODELS},
                .utf8 = !s.ascii && cmd_terminal_style().utf8,
                .page = 1};
    gpulet_status_t st = GPULET_OK;
    if (!s.once && (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))) {
        exit_code = cmd_complain("top", CMD_USAGE,
                                 "standard input and output are no terminal; --once prints one "
                                 "picture");
    } else if (gpulet_url_parse(&url, s.url, &err) != GPULET_OK) {
        exit_code = cmd_complain("top", CMD_USAGE, err.text);
    } else {
        st = top_poll_create(&l.poller, s.url, (uint64_t)(s.interval_s * 1e9), &err);
        if (st == GPULET_OK && s.once) {
            st = run_once(&l.top, l.poller, l.utf8, &err);
        } else if (st == GPULET_OK) {
            l.top.keys = true;
            st = run_in_terminal(&l, &err);
        }
        top_poll_destroy(l.poller);
    }
    if (st != GPULET_OK)
        exit_code = cmd_complain("top", CMD_FAILED, err.text);
    gpulet_options_deinit(cmd_top_options, &s);
    return exit_code;
}
