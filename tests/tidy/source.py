#!/usr/bin/env python3
"""Non-functional properties of the code itself: lengths of files and functions, banned calls with their replacement, leftovers."""
import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1])
FILE_LINES_MAX = 1000
FUNCTION_LINES_MAX = 70
FUNCTION_LINES_MAX_TESTS = 120  # tables of cases
BANNED = {
    r"\bstrcpy\(": "gpulet_buf_* or snprintf",
    r"\bstrcat\(": "gpulet_buf_* or snprintf",
    r"\bsprintf\(": "snprintf",
    r"\batoi\(": "gpulet_parse_u64",
    r"\batof\(": "gpulet_parse_f64",
    r"\bgets\(": "fgets",
    r"\bsleep\(": "an event or a timer",
    r"\busleep\(": "an event or a timer",
    r"\brand\(": "gpulet_rng_*",
    r"\balloca\(": "a bounded array or the heap",
    r"\bstrtok\(": "strcspn",
}


def code_only(text):
    """The text without comments and string contents, line structure kept."""
    def blank(match):
        kept = match.group(0)
        if kept.startswith('"'):
            return '""'
        return re.sub(r"[^\n]", " ", kept)
    return re.sub(r'"(?:\\.|[^"\\\n])*"|/\*.*?\*/|//[^\n]*', blank, text, flags=re.S)


def functions(code):
    """(name, first line, number of lines) of each function body: a brace in column 0 opens it."""
    lines = code.split("\n")
    begin = None
    for number, line in enumerate(lines, 1):
        if line.startswith("{") and begin is None:
            begin = number
        elif line.startswith("}") and begin is not None:
            yield begin, number - begin - 1
            begin = None


def check(path):
    problems = []
    text = path.read_text(encoding="utf-8")
    name = path.relative_to(ROOT)
    lines = text.split("\n")
    if len(lines) > FILE_LINES_MAX:
        problems.append(f"{name}: {len(lines)} lines, at most {FILE_LINES_MAX}")
    code = code_only(text)
    in_tests = name.parts[0] == "tests"
    most = FUNCTION_LINES_MAX_TESTS if in_tests else FUNCTION_LINES_MAX
    for begin, length in functions(code):
        if length > most:
            problems.append(f"{name}:{begin}: a function of {length} lines, at most {most}")
    for number, line in enumerate([] if in_tests else code.split("\n"), 1):
        for pattern, instead in BANNED.items():
            if re.search(pattern, line):
                problems.append(f"{name}:{number}: {pattern} is banned: use {instead}")
    for number, line in enumerate(lines, 1):
        if line.rstrip() != line:
            problems.append(f"{name}:{number}: blanks at the end of the line")
        if "\t" in line:
            problems.append(f"{name}:{number}: a tab")
        if re.search(r"\b(TODO|FIXME|XXX)\b", line):
            problems.append(f"{name}:{number}: an unfinished note")
    if path.suffix == ".h" and not re.search(r"^#ifndef \w+_H$", text, re.M):
        problems.append(f"{name}: no include guard")
    return problems


def marks_of_a_merge():
    """In any text that is not code."""
    paths = [p for pattern in ("*.md", "docs/**/*.md", "**/CMakeLists.txt", "bench/*", "tools/*") for p in ROOT.glob(pattern) if p.is_file()]
    return [f"{p.relative_to(ROOT)}: a conflict of a merge" for p in paths
            if "build" not in p.relative_to(ROOT).parts[:1]
            and re.search(r"^(<<<<<<< |>>>>>>> )", p.read_text(encoding="utf-8", errors="replace"), re.M)]


def unlisted_tests():
    """End-to-end tests that ctest does not know of: nobody would miss them."""
    folder = ROOT / "tests" / "e2e"
    listed = " ".join(p.read_text(encoding="utf-8") for p in (folder / "CMakeLists.txt", folder / "real.cmake"))
    return [f"{p.relative_to(ROOT)}: not listed in CMakeLists.txt or real.cmake" for p in sorted(folder.glob("*.py"))
            if "__main__" in p.read_text(encoding="utf-8") and not re.search(rf"\b{p.stem}\b", listed)]


def main():
    files = sorted(p for folder in ("src", "tests", "bench") for p in (ROOT / folder).rglob("*.[ch]"))
    problems = [line for path in files for line in check(path)] + marks_of_a_merge() + unlisted_tests()
    print("\n".join(problems))
    print(f"{len(files) - len({p.split(':')[0] for p in problems})} passed, {len({p.split(':')[0] for p in problems})} failed")
    return 1 if problems or not files else 0


sys.exit(main())
