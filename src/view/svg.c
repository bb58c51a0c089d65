#include "view/svg.h"

#include <string.h>

#include "core/text.h"
#include "view/plan_text.h"

static const char *const colours[] = {"#8fc9f4", "#b0db8a", "#f6b98d", "#f4dd7f",
                                      "#d2b3ec", "#a3e0d6", "#f5b5d3", "#d9d3a0",
                                      "#9db8f2", "#e0bd92", "#96d9ae", "#f29d82"};

static const char style[] =
    "<style>\n"
    "text{font-family:sans-serif;font-size:12px;fill:#1b1f24}\n"
    ".title{font-size:15px;font-weight:bold}\n"
    ".small{font-size:10px;fill:#4a525c}\n"
    ".inside{fill:#14181d}\n"
    ".low{font-size:9.5px}\n"
    ".ground{fill:#ffffff}\n"
    ".box{stroke:#1b1f24;stroke-width:0.8}\n"
    ".frame{fill:#eef0f3;stroke:#6b7480;stroke-width:0.8}\n"
    ".line{stroke:#6b7480;stroke-width:0.8}\n"
    "@media (prefers-color-scheme:dark){\n"
    "text{fill:#e8ebef}.small{fill:#b4bcc6}.inside{fill:#14181d}.ground{fill:#16191d}\n"
    ".frame{fill:#2a2f36;stroke:#8a939e}.line{stroke:#8a939e}\n"
    "}\n"
    "</style>\n";

/* U+FFFE and U+FFFF are no characters of XML. */
static bool is_xml(const char *text, size_t size)
{
    unsigned char c = (unsigned char)text[0];
    if (size == 1)
        return (c >= 0x20 && c != 0x7F) || c == '\t' || c == '\n' || c == '\r';
    return !(size == 3 && c == 0xEF && (unsigned char)text[1] == 0xBF &&
             (unsigned char)text[2] >= 0xBE);
}

void gpulet_svg_escape(gpulet_buf_t *out, const char *text)
{
    static const char *const entities[] = {
        ['"'] = "&quot;", ['&'] = "&amp;", ['\''] = "&apos;", ['<'] = "&lt;", ['>'] = "&gt;"};
    size_t left = strlen(text);
    while (left > 0) {
        size_t size = gpulet_text_utf8(text, left);
        unsigned char c = (unsigned char)text[0];
        if (size == 0 || !is_xml(text, size))
            gpulet_buf_append_str(out, "\xEF\xBF\xBD");
        else if (c < sizeof(entities) / sizeof(entities[0]) && entities[c] != NULL)
            gpulet_buf_append_str(out, entities[c]);
        else
            gpulet_buf_append(out, text, size);
        text += size == 0 ? 1 : size;
        left -= size == 0 ? 1 : size;
    }
}

void gpulet_svg_begin(gpulet_buf_t *out, double width, double height, const char *title)
{
    gpulet_buf_printf(out,
                      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
                      "viewBox=\"0 0 %.0f %.0f\" role=\"img\">\n<title>",
                      width, height, width, height);
    gpulet_svg_escape(out, title);
    gpulet_buf_append_str(out, "</title>\n");
    gpulet_buf_append_str(out, style);
    gpulet_buf_append_str(out, "<rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n");
}

void gpulet_svg_end(gpulet_buf_t *out)
{
    gpulet_buf_append_str(out, "</svg>\n");
}

static void put_rect(gpulet_buf_t *out, const gpulet_svg_rect_t *rect, const char *class)
{
    gpulet_buf_append_str(out, "<rect");
    if (class != NULL)
        gpulet_buf_printf(out, " class=\"%s\"", class);
    gpulet_buf_printf(out, " x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\"", rect->x,
                      rect->y, rect->width, rect->height);
}

void gpulet_svg_box(gpulet_buf_t *out, const gpulet_svg_rect_t *rect, const char *colour,
                    const char *hint)
{
    put_rect(out, rect, "box");
    gpulet_buf_printf(out, " fill=\"%s\"", colour);
    if (hint == NULL) {
        gpulet_buf_append_str(out, "/>\n");
        return;
    }
    gpulet_buf_append_str(out, "><title>");
    gpulet_svg_escape(out, hint);
    gpulet_buf_append_str(out, "</title></rect>\n");
}

void gpulet_svg_area(gpulet_buf_t *out, const gpulet_svg_rect_t *rect, const char *colour)
{
    put_rect(out, rect, NULL);
    gpulet_buf_printf(out, " fill=\"%s\"/>\n", colour);
}

void gpulet_svg_frame(gpulet_buf_t *out, const gpulet_svg_rect_t *rect)
{
    put_rect(out, rect, "frame");
    gpulet_buf_append_str(out, "/>\n");
}

void gpulet_svg_line(gpulet_buf_t *out, double x1, double y1, double x2, double y2)
{
    gpulet_buf_printf(out,
                      "<line class=\"line\" x1=\"%.2f\" y1=\"%.2f\" x2=\"%.2f\" y2=\"%.2f\"/>\n",
                      x1, y1, x2, y2);
}

void gpulet_svg_text(gpulet_buf_t *out, double x, double y, gpulet_svg_text_t look,
                     gpulet_svg_anchor_t anchor, const char *text)
{
    static const char *const looks[] = {" class=\"title\"", "", " class=\"small\"",
                                        " class=\"inside\"", " class=\"inside low\""};
    static const char *const anchors[] = {"", " text-anchor=\"middle\"", " text-anchor=\"end\""};
    gpulet_buf_printf(out, "<text x=\"%.2f\" y=\"%.2f\"%s%s>", x, y, looks[look], anchors[anchor]);
    gpulet_svg_escape(out, text);
    gpulet_buf_append_str(out, "</text>\n");
}

const char *gpulet_svg_colour(size_t index)
{
    return colours[index % (sizeof(colours) / sizeof(colours[0]))];
}

double gpulet_svg_width(const char *text)
{
    const double character = 7.0;
    return character * (double)gpulet_view_length(text);
}
