#!/usr/bin/python3
"""Each lint finds what it is for: a small tree with one planted defect per case, and one without."""
import os
import subprocess
import tempfile
import unittest

TOOLS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools")
CLEAN = "static const int limit = 3;\n\nint noun_verb(void)\n{\n    return limit;\n}\n"


def run(check, files):
    """(exit status, output) of a check over a tree of these files."""
    with tempfile.TemporaryDirectory() as root:
        for path, text in files.items():
            full = os.path.join(root, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w", encoding="utf-8") as file:
                file.write(text)
        done = subprocess.run([os.path.join(TOOLS, check), root], check=False, text=True,
                              stdout=subprocess.PIPE)
        return done.returncode, done.stdout


class Lints(unittest.TestCase):
    def clean(self, check, files):
        status, output = run(check, files)
        self.assertEqual(status, 0, msg=output)

    def finds(self, check, files, *texts):
        status, output = run(check, files)
        self.assertEqual(status, 1, msg=output)
        for text in texts:
            self.assertIn(text, output)

    def test_style_clean(self):
        self.clean("check_style", {
            "common/base/noun.c": CLEAN,
            "common/base/noun.h": "/* A noun. */\n#ifndef COMMON_BASE_NOUN_H\n"
                                  "#define COMMON_BASE_NOUN_H\n\nstruct noun;\n\n#endif\n",
            "common/base/text.c": '/* strcpy(a, b) // */\nconst char *const x = "free(p) //";\n',
            "common/sys/call.c": "int f(struct a *p)\n{\n    p->free(p);\n    return fork_count(p);\n}\n",
            "common/base/table.c": "static const char *const names[] = { \"a\" };\n"
                                   "static int noun_add(int a);\n",
            "tests/unit/common_base/test_a.c": "int f(void)\n{\n    return fork();\n}\n",
        })

    def test_style_banned(self):
        for call in ("strcpy", "sprintf", "atoi", "system", "alloca", "usleep", "malloc", "fork"):
            with self.subTest(call=call):
                text = f"void f(void)\n{{\n    {call}(1);\n}}\n"
                self.finds("check_style", {"common/sys/a.c": text}, f"common/sys/a.c:3: {call}:")

    def test_style_sleep_in_tests(self):
        self.finds("check_style", {"tests/unit/x/test_a.c": "void f(void)\n{\n    sleep(1);\n}\n"}, ":3:")

    def test_style_state(self):
        for line in ("static int count;", "int count = 3;", "static struct noun *count;",
                     "static const char *count[] = { 0 };", "static _Thread_local long count = 1;"):
            with self.subTest(line=line):
                self.finds("check_style", {"cmd/server/a.c": line + "\n"}, "mutable state 'count'")
        text = "int f(void)\n{\n    static int calls;\n    return calls++;\n}\n"
        self.finds("check_style", {"cmd/server/a.c": text}, "mutable state 'calls'")

    def test_style_text(self):
        self.finds("check_style", {"common/base/a.c": "// line\n"}, "line comment")
        self.finds("check_style", {"common/base/a.c": "/* TO" "DO later */\n"}, "without an issue")
        self.finds("check_style", {"common/base/a.c": "/* caf\u00e9 */\n"}, "beyond ASCII")
        self.finds("check_style", {"common/base/a.c": "int a(void);"}, "no newline")
        self.finds("check_style", {"common/base/a.h": "int a(void);\n"}, "include guard", "comment")

    def test_layers(self):
        header = {"common/sys/fd.h": "", "common/base/err.h": "", "cmd/server/store/x.h": ""}
        self.clean("check_layers", header | {
            "common/sys/fd.c": '#include "common/sys/fd.h"\n#include "common/base/err.h"\n'})
        for path, line, text in (
                ("common/base/a.c", '#include "common/sys/fd.h"', "common/base may not include"),
                ("cmd/server/domain/a.c", '#include "cmd/server/store/x.h"', "may not include"),
                ("common/sys/a.c", "#include <sqlite3.h>", "only in common/sql/*"),
                ("common/sql/sqlite.c", "#include <libpq-fe.h>", "only in common/sql/postgres*"),
                ("common/wire/a.c", "#include <grpc/grpc.h>", "only in common/rpc/*"),
                ("cmd/server/store/a.c", "#include <protobuf-c/protobuf-c.h>", "not for"),
                ("common/sys/a.c", '#include "common/gone/gone.h"', "does not exist"),
                ("common/new/a.c", "#include <stdio.h>", "has no row"),
                ("common/sys/fd.c", '#include "common/base/err.h"', "first include")):
            with self.subTest(path=path, line=line):
                self.finds("check_layers", header | {path: line + "\n"}, path, text)

    def test_size(self):
        body = "int noun_verb(\n    int a)\n{\n" + "    a++;\n" * 96 + "}\n"
        self.clean("size_report", {"common/base/a.c": body})
        longer = body.replace("}\n", "    a++;\n}\n")
        self.finds("size_report", {"common/base/a.c": longer}, "noun_verb has 101 lines")
        self.finds("size_report", {"common/base/a.c": "int a(void);\n" * 1001}, "more than 1000")
        deep = "int f(int a)\n{\n" + "    if (a) {\n" * 4 + "    }\n" * 4 + "}\n"
        self.finds("size_report", {"common/base/a.c": deep}, "f nests 5 deep")
        self.clean("size_report", {"common/base/a.c": deep.replace("    if (a) {\n", "", 1)
                                   .replace("    }\n", "", 1)})
        many = {f"common/base/f{i}.c": "" for i in range(26)}
        self.finds("size_report", many, "26 sources")

    def test_junit_count(self):
        cases = ('<testcase name="a" status="run"/>'
                 '<testcase name="b" status="fail"><failure message=""/></testcase>'
                 '<testcase name="c" status="notrun"><skipped message="Unable to find executable"/>'
                 '</testcase><testcase name="d" status="disabled"><skipped message="Disabled"/></testcase>'
                 '<testcase name="e" status="notrun"><skipped message="SKIP_RETURN_CODE=77"/></testcase>')
        for text, expected in ((f"<testsuite>{cases}</testsuite>", "1 2\n"), ("<broken", "0 1\n"),
                               ("<testsuite/>", "0 0\n")):
            with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                done = subprocess.run([os.path.join(TOOLS, "cmake", "junit_count.py"), file.name],
                                      check=False, text=True, stdout=subprocess.PIPE,
                                      stderr=subprocess.DEVNULL)
                self.assertEqual(done.stdout, expected)

    def test_runner_ends_with_its_line_when_nothing_builds(self):
        with tempfile.TemporaryDirectory() as root:
            os.makedirs(os.path.join(root, "tools"))
            with open(os.path.join(TOOLS, "test"), encoding="utf-8") as file:
                script = file.read()
            copy = os.path.join(root, "tools", "test")
            with open(copy, "w", encoding="utf-8") as file:
                file.write(script)
            done = subprocess.run(["bash", copy, "--no-setup"], check=False, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            self.assertNotEqual(done.returncode, 0)
            self.assertEqual(done.stdout.rstrip().split("\n")[-1], "0 passed, 1 failed")


if __name__ == "__main__":
    unittest.main()
