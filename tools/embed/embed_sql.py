#!/usr/bin/env python3
"""embed_sql.py FILE.sql HEADER: named statements to `static const struct sql_statement`s.

A statement starts with a line `-- name: noun_verb` and ends before the next one. Comment lines stay
out of the text. A text that is the same on both engines stands once; where one engine needs its own,
the statement is written twice, the second as `-- name: noun_verb [postgres]` or `[sqlite]`.
"""
import re
import sys

source, header = sys.argv[1:]
statements = {}
current = None
for number, line in enumerate(open(source, encoding="utf-8"), 1):
    match = re.match(r"--\s*name:\s*([a-z0-9_]+)\s*(?:\[(postgres|sqlite)\])?\s*$", line)
    if match:
        current = statements.setdefault(match[1], {}).setdefault(match[2] or "both", [])
        if current:
            sys.exit(f"{source}:{number}: statement {match[1]} stands twice")
    elif line.lstrip().startswith("--") or not line.strip():
        continue
    elif current is None:
        sys.exit(f"{source}:{number}: text before the first '-- name:'")
    else:
        if "::" in line:
            sys.exit(f"{source}:{number}: write CAST(x AS t), '::' is PostgreSQL's alone")
        current.append(line.rstrip())


def literal(lines):
    if not lines:
        return "NULL"
    text = "\n".join(lines).rstrip().rstrip(";")
    return "\n    ".join('"' + row.replace("\\", "\\\\").replace('"', '\\"') + '\\n"'
                         for row in text.split("\n"))


noun = re.sub(r"[^a-z0-9]", "_", source.rsplit("/", 1)[-1].split(".")[0])
guard = f"SQL_{noun.upper()}_SQL_H"
with open(header, "w", encoding="utf-8") as out:
    out.write(f"/* Generated from {source.rsplit('/', 1)[-1]}. */\n#ifndef {guard}\n#define {guard}\n"
              '#include "common/sql/sql.h"\n')
    for name, texts in statements.items():
        both = texts.get("both")
        postgres, sqlite = texts.get("postgres", both), texts.get("sqlite", both)
        out.write(f"static const struct sql_statement SQL_{name.upper()} __attribute__((unused)) = {{\n"
                  f'    "{name}",\n    {literal(postgres)},\n    {literal(sqlite)}\n}};\n')
    out.write(f"static const struct sql_statement *const sql_{noun}_statements[] __attribute__((unused)) = {{\n")
    for name in statements:
        out.write(f"    &SQL_{name.upper()},\n")
    out.write("};\n#endif\n")
