"""Writes a file's bytes as a C array: embed.py INPUT NAME OUTPUT."""
import sys

source, name, target = sys.argv[1:]
data = open(source, "rb").read()
with open(target, "w") as out:
    out.write("#include <stddef.h>\n#include <stdint.h>\n")
    out.write(f"extern const uint8_t {name}[];\nextern const size_t {name}_len;\n")
    out.write(f"const uint8_t {name}[] = {{\n")
    for at in range(0, len(data), 20):
        out.write("".join(f"{byte}," for byte in data[at : at + 20]) + "\n")
    out.write(f"}};\nconst size_t {name}_len = {len(data)};\n")
