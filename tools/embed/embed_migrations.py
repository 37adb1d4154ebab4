#!/usr/bin/env python3
"""embed_migrations.py SYMBOL STEM FILES...: NNNN_name.sql files to an array of struct sql_migration."""
import hashlib
import os
import re
import sys

symbol, stem, files = sys.argv[1], sys.argv[2], sorted(sys.argv[3:])
rows = []
for index, path in enumerate(files, 1):
    match = re.match(r"(\d{4})_([a-z0-9_]+)\.sql$", os.path.basename(path))
    if not match or int(match[1]) != index:
        sys.exit(f"{path}: expected {index:04d}_name.sql")
    raw = open(path, "rb").read()
    text = ", ".join(str(byte) for byte in raw)
    rows.append((index, match[2], hashlib.sha256(raw).hexdigest(), text))
with open(stem + ".h", "w", encoding="ascii") as out:
    guard = symbol.upper() + "_H"
    out.write(f'#ifndef {guard}\n#define {guard}\n#include "common/sql/migrate.h"\n'
              f"extern const struct sql_migration {symbol}[];\nextern const size_t {symbol}_count;\n#endif\n")
with open(stem + ".c", "w", encoding="ascii") as out:
    out.write(f'#include "{os.path.basename(stem)}.h"\n')
    for index, _, _, text in rows:
        out.write(f"static const char text_{index}[] = {{ {text}, 0 }};\n")
    out.write(f"const struct sql_migration {symbol}[] = {{\n")
    for index, name, digest, _ in rows:
        out.write(f'    {{ {index}, "{name}", "{digest}", text_{index} }},\n')
    out.write(f"    {{ 0, 0, 0, 0 }},\n}};\nconst size_t {symbol}_count = {len(rows)};\n")
