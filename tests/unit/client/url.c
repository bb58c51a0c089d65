#include "client/http_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void urls_are_taken_apart(void **state)
{
    static const struct {
        const char *text, *host, *port, *base;
    } cases[] = {
        {"http://127.0.0.1:8000", "127.0.0.1", "8000", ""},
        {"http://127.0.0.1:8000/", "127.0.0.1", "8000", ""},
        {"http://host", "host", "8000", ""},
        {"host", "host", "8000", ""},
        {"host:1", "host", "1", ""},
        {"host:65535/base", "host", "65535", "/base"},
        {"host/base/more//", "host", "8000", "/base/more"},
        {"http://host:80/a:b", "host", "80", "/a:b"},
        {"http://host:08000", "host", "8000", ""},
        {"http://[::1]", "::1", "8000", ""},
        {"http://[::1]:9000/x", "::1", "9000", "/x"},
        {"[fe80::1]:7", "fe80::1", "7", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gpulet_url_t url;
        gpulet_error_t err = {""};
        if (gpulet_url_parse(&url, cases[i].text, &err) != GPULET_OK)
            fail_msg("%s: %s", cases[i].text, err.text);
        assert_string_equal(url.host, cases[i].host);
        assert_string_equal(url.port, cases[i].port);
        assert_string_equal(url.base, cases[i].base);
    }
}

static void what_is_no_url_is_refused_and_quoted(void **state)
{
    static const char *const texts[] = {
        "",           "http://", "https://host", "ftp://host",
        "http://:80", "host:",   "host:0",       "host:65536",
        "host:port",  "host:-1", "host: 80",     "host:99999999999999999999",
        "/path",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        gpulet_url_t url;
        gpulet_error_t err = {""};
        char quoted[64];
        if (gpulet_url_parse(&url, texts[i], &err) != GPULET_E_INVALID)
            fail_msg("accepted: %s", texts[i]);
        (void)snprintf(quoted, sizeof(quoted), "found '%s'", texts[i]);
        assert_non_null(strstr(err.text, quoted));
    }
}

static void texts_that_are_too_long_are_refused(void **state)
{
    char text[1024];
    gpulet_url_t url;
    gpulet_error_t err = {""};
    (void)state;
    memset(text, 'h', sizeof(text));
    text[GPULET_URL_HOST_MAX] = '\0';
    assert_int_equal(gpulet_url_parse(&url, text, &err), GPULET_OK);
    assert_int_equal(strlen(url.host), GPULET_URL_HOST_MAX);
    text[GPULET_URL_HOST_MAX] = 'h';
    text[GPULET_URL_HOST_MAX + 1] = '\0';
    assert_int_equal(gpulet_url_parse(&url, text, &err), GPULET_E_INVALID);
    memset(text, 'b', sizeof(text));
    memcpy(text, "host/", 5);
    text[4 + GPULET_URL_BASE_MAX] = '\0';
    assert_int_equal(gpulet_url_parse(&url, text, &err), GPULET_OK);
    assert_int_equal(strlen(url.base), GPULET_URL_BASE_MAX);
    text[4 + GPULET_URL_BASE_MAX] = 'b';
    text[5 + GPULET_URL_BASE_MAX] = '\0';
    assert_int_equal(gpulet_url_parse(&url, text, &err), GPULET_E_INVALID);
}

static void an_unknown_host_is_named(void **state)
{
    gpulet_url_t url;
    gpulet_error_t err = {""};
    (void)state;
    assert_int_equal(gpulet_url_parse(&url, "no-such-host.invalid", &err), GPULET_OK);
    assert_int_equal(gpulet_url_resolve(&url, &err), GPULET_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "no-such-host.invalid"));
}

static void any_name_is_one_segment_of_a_path(void **state)
{
    static const char *const cases[][2] = {
        {"resnet50", "resnet50"},
        {"a-B_c.9~", "a-B_c.9~"},
        {"odd name+\xc3\xa9%", "odd%20name%2B%C3%A9%25"},
        {"a/b?c#d", "a%2Fb%3Fc%23d"},
        {"x\r\nHost: y", "x%0D%0AHost%3A%20y"},
        {"", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gpulet_buf_t out = GPULET_BUF_INIT;
        gpulet_buf_append_char(&out, '/');
        gpulet_url_append_segment(&out, cases[i][0]);
        assert_string_equal(out.data + 1, cases[i][1]);
        gpulet_buf_deinit(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_are_taken_apart),
        cmocka_unit_test(what_is_no_url_is_refused_and_quoted),
        cmocka_unit_test(texts_that_are_too_long_are_refused),
        cmocka_unit_test(an_unknown_host_is_named),
        cmocka_unit_test(any_name_is_one_segment_of_a_path),
    };
    return cmocka_run_group_tests_name("client.url", tests, NULL, NULL);
}
