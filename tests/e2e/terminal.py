"""A terminal for the end-to-end tests: runs a program on a pseudo-terminal and keeps the picture that it draws.

It knows what ncurses uses of xterm's and the VT100's control sequences, and fails on any other, so that a picture which is
compared is the one a person would see.
"""
import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
import unicodedata


def columns_of(character):
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


class Picture:
    """What the bytes written so far show."""

    TOKENS = re.compile(r"\x1b\[(?P<private>[?>]?)(?P<numbers>[0-9;]*)(?P<final>[@-~])|\x1b[()][AB0]|\x1b(?P<short>[78=>MDEHc])"
                        r"|\x1b\][^\x07]*\x07|(?P<control>[\x00-\x1a\x1c-\x1f])|(?P<character>[^\x00-\x1f])", re.S)
    HALF = re.compile(r"\x1b(\[[?>]?[0-9;]*|[()]|\][^\x07]*)?$")

    def __init__(self, rows, columns):
        self.alternate = False  # the screen of full-screen programs, whose end brings the other one back
        self.cursor_visible = True
        self.text = ""  # everything but sequences, in the order it came
        self.coloured = False
        self.resize(rows, columns)

    def resize(self, rows, columns):
        self.rows, self.columns = rows, columns
        self.clear()
        self.region = (0, rows - 1)
        self.at = [0, 0]
        self.last = " "

    def clear(self):
        self.cells = [[" "] * self.columns for _ in range(self.rows)]

    def lines(self):
        return ["".join(row).rstrip() for row in self.cells]

    def feed(self, text):
        """Returns what is the beginning of a sequence whose end did not come yet."""
        half = self.HALF.search(text)
        rest = half.group(0) if half else ""
        text = text[:len(text) - len(rest)]
        position = 0
        while position < len(text):
            token = self.TOKENS.match(text, position)
            assert token, "unknown sequence: %r" % text[position:position + 20]
            position = token.end()
            if token.group("character"):
                self.put(token.group("character"))
            elif token.group("final"):
                self.sequence(token.group("private"), token.group("numbers"), token.group("final"))
            elif token.group("short"):
                self.short(token.group("short"))
            elif token.group("control"):
                self.control(token.group("control"))
        return rest

    def put(self, character):
        self.text += character
        width = columns_of(character)
        if width == 0:
            return
        if self.at[1] + width > self.columns:  # wraps when the next one comes, not before
            self.at[1] = 0
            self.down()
        self.cells[self.at[0]][self.at[1]] = character
        if width == 2:
            self.cells[self.at[0]][self.at[1] + 1] = ""
        self.at[1] += width
        self.last = character

    def down(self):
        if self.at[0] == self.region[1]:
            self.scroll(1)
        else:
            self.at[0] = min(self.at[0] + 1, self.rows - 1)

    def scroll(self, lines):
        first, last = self.region
        for _ in range(abs(lines)):
            del self.cells[first if lines > 0 else last]
            self.cells.insert(last if lines > 0 else first, [" "] * self.columns)

    def control(self, character):
        if character == "\r":
            self.at[1] = 0
        elif character == "\n":
            self.text += "\n"
            self.down()
        elif character == "\b":
            self.at[1] = max(self.at[1] - 1, 0)
        elif character == "\t":
            self.at[1] = min(self.at[1] // 8 * 8 + 8, self.columns - 1)
        else:
            assert character in "\x00\x07\x0e\x0f", "unknown control %r" % character

    def short(self, final):
        if final == "M":
            if self.at[0] == self.region[0]:
                self.scroll(-1)
            else:
                self.at[0] = max(self.at[0] - 1, 0)
        elif final == "D":
            self.down()
        else:
            assert final in "78=>", "unknown sequence ESC %s" % final

    def sequence(self, private, numbers, final):
        values = [int(n) if n else 0 for n in numbers.split(";")]
        if private:
            assert final in "hlt", "unknown sequence %s%s%s" % (private, numbers, final)
            if 1049 in values and final in "hl":
                self.alternate = final == "h"
            if 25 in values and final in "hl":
                self.cursor_visible = final == "h"
            return
        self.plain(values, max(values[0], 1), final)

    def plain(self, values, count, final):
        row, column = self.at
        column = min(column, self.columns - 1)
        line = self.cells[row]
        if final in "Hf":
            values += [0]
            self.at = [min(max(values[0], 1), self.rows) - 1, min(max(values[1], 1), self.columns) - 1]
        elif final in "ABCDGd":
            row = {"A": max(row - count, 0), "B": min(row + count, self.rows - 1), "d": count - 1}.get(final, row)
            column = {"C": column + count, "D": max(column - count, 0), "G": count - 1}.get(final, column)
            self.at = [row, min(column, self.columns - 1)]
        elif final == "J":
            assert values[0] in (0, 2), values
            for r in range(row if values[0] == 0 else 0, self.rows):
                self.cells[r][(column if r == row and values[0] == 0 else 0):] = [" "] * (
                    self.columns - (column if r == row and values[0] == 0 else 0))
        elif final == "K":
            begin, end = {0: (column, self.columns), 1: (0, column + 1), 2: (0, self.columns)}[values[0]]
            line[begin:end] = [" "] * (end - begin)
        elif final == "X":
            end = min(column + count, self.columns)
            line[column:end] = [" "] * (end - column)
        elif final == "P":
            self.cells[row] = (line[:column] + line[column + count:] + [" "] * count)[:self.columns]
        elif final == "@":
            self.cells[row] = (line[:column] + [" "] * count + line[column:])[:self.columns]
        elif final == "b":
            for _ in range(count):
                self.put(self.last)
        elif final == "r":
            values += [0]
            self.region = (min(max(values[0], 1), self.rows) - 1, min(values[1] or self.rows, self.rows) - 1)
            self.at = [0, 0]
        elif final in "LM":
            first, self.region = self.region, (row, self.region[1])
            self.scroll(count if final == "M" else -count)
            self.region = first
        elif final in "ST":
            self.scroll(count if final == "S" else -count)
        elif final == "m":
            self.coloured |= any(v >= 30 for v in values)
        else:
            assert final in "lht", "unknown sequence %s%s" % (values, final)


class Terminal:
    """A program on a pseudo-terminal of its own."""

    def __init__(self, arguments, rows=24, columns=80, term="xterm-256color", **environment):
        self.picture = Picture(rows, columns)
        self.rest, self.decoder = "", codecs.getincrementaldecoder("utf-8")()
        env = dict(os.environ, TERM=term, LC_ALL="C.UTF-8", **environment)
        for name in ("LINES", "COLUMNS", "NO_COLOR"):
            if name not in environment:
                env.pop(name, None)
        self.master, slave = pty.openpty()
        self.slave = slave
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.settings = termios.tcgetattr(slave)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setsid()
                fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
                for fd in (0, 1, 2):
                    os.dup2(slave, fd)
                os.closerange(3, 256)
                os.execvpe(arguments[0], arguments, env)
            finally:
                os._exit(126)
        self.code = None

    def read(self, wait_s=0.05):
        """Takes in what was written."""
        while select.select([self.master], [], [], wait_s)[0]:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return
            text = self.decoder.decode(data)
            self.rest = self.picture.feed(self.rest + text)
            wait_s = 0

    def wait_for(self, condition, what, deadline_s=60):
        """condition(lines): over the rows of the picture."""
        until = time.monotonic() + deadline_s
        while True:
            self.read()
            value = condition(self.picture.lines())
            if value:
                return value
            if time.monotonic() > until or self.ended():
                raise AssertionError("not %s; the terminal shows:\n%s" % (what, "\n".join(self.picture.lines())))

    def wait_for_text(self, text):
        return self.wait_for(lambda lines: next((line for line in lines if text in line), None), "'%s' on the screen" % text)

    def press(self, keys):
        os.write(self.master, keys.encode())

    def resize(self, rows, columns):
        self.read()
        self.picture.resize(rows, columns)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def ended(self):
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid != 0:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None

    def wait_exit(self, deadline_s=60):
        until = time.monotonic() + deadline_s
        while not self.ended():
            self.read()
            if time.monotonic() > until:
                raise AssertionError("the program still runs")
        self.read()
        return self.code

    def restored(self):
        """The terminal is as it was before the program came."""
        return (termios.tcgetattr(self.slave) == self.settings and not self.picture.alternate
                and self.picture.cursor_visible)

    def close(self):
        if not self.ended():
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.master)
        os.close(self.slave)
