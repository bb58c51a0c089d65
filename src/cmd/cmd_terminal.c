#include "cmd/cmd_terminal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/parse.h"

enum { WIDTH_ELSE = 100 };

static const char *setting(const char *name)
{
    const char *value = getenv(name);
    return value != NULL ? value : "";
}

static size_t columns(void)
{
    struct winsize size = {0};
    uint64_t value = 0;
    const char *text = setting("COLUMNS");
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    if (gpulet_parse_u64(&value, text, strlen(text)) == GPULET_OK && value > 0)
        return (size_t)value;
    return WIDTH_ELSE;
}

static bool speaks_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *value = setting(names[i]);
        if (value[0] != '\0')
            return strcasestr(value, "utf-8") != NULL || strcasestr(value, "utf8") != NULL;
    }
    return false;
}

gpulet_view_style_t cmd_terminal_style(void)
{
    const char *terminal = setting("TERM");
    return (gpulet_view_style_t){
        .width = columns(),
        .utf8 = speaks_utf8(),
        .colour = isatty(STDOUT_FILENO) && setting("NO_COLOR")[0] == '\0' && terminal[0] != '\0' &&
                  strcmp(terminal, "dumb") != 0,
    };
}
