#!/usr/bin/env python3
"""embed_bytes.py SYMBOL FILE STEM: writes STEM.S (.incbin) and STEM.h (declarations)."""
import sys

symbol, source, stem = sys.argv[1:]
with open(stem + ".S", "w", encoding="ascii") as out:
    out.write(
        f'    .section .rodata\n    .global {symbol}\n    .global {symbol}_size\n    .balign 16\n'
        f'{symbol}:\n    .incbin "{source}"\n{symbol}_end:\n    .byte 0\n    .balign 8\n'
        f'{symbol}_size:\n    .quad {symbol}_end - {symbol}\n'
        f'    .section .note.GNU-stack,"",%progbits\n')
with open(stem + ".h", "w", encoding="ascii") as out:
    guard = symbol.upper() + "_H"
    out.write(f"#ifndef {guard}\n#define {guard}\n#include <stddef.h>\n"
              f"extern const unsigned char {symbol}[];\nextern const size_t {symbol}_size;\n#endif\n")
