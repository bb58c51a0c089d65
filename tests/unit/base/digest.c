#include "base/digest.h"

#include <string.h>

#include "check.h"

static void tells_texts_apart(void **state)
{
    char a[GPULET_DIGEST_TEXT_MAX + 1], b[GPULET_DIGEST_TEXT_MAX + 1];
    (void)state;
    gpulet_digest_of(a, "one model");
    gpulet_digest_of(b, "one modem");
    assert_string_not_equal(a, b);
    assert_int_equal(strlen(a), GPULET_DIGEST_TEXT_MAX);
    assert_int_equal(strspn(a, "0123456789abcdef"), GPULET_DIGEST_TEXT_MAX);
}

static void is_the_same_in_pieces(void **state)
{
    static const char text[] = "a model that is read in pieces";
    char whole[GPULET_DIGEST_TEXT_MAX + 1], pieces[GPULET_DIGEST_TEXT_MAX + 1];
    (void)state;
    gpulet_digest_of(whole, text);
    for (size_t at = 0; at <= strlen(text); at++) {
        gpulet_digest_t digest;
        gpulet_digest_init(&digest);
        gpulet_digest_add(&digest, text, at);
        gpulet_digest_add(&digest, text + at, strlen(text) - at);
        gpulet_digest_text(pieces, &digest);
        assert_string_equal(pieces, whole);
    }
}

/* Keys of stores and caches that are there already depend on it. */
static void stays_what_it_is(void **state)
{
    char text[GPULET_DIGEST_TEXT_MAX + 1];
    (void)state;
    gpulet_digest_of(text, "");
    assert_string_equal(text, "cbf29ce4842223259e3779b97f4a7c15");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_texts_apart),
        cmocka_unit_test(is_the_same_in_pieces),
        cmocka_unit_test(stays_what_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
