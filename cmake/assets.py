"""Writes files as a table of struct rpc_asset: assets.py OUTPUT FILE... Each is served by its name alone."""
import pathlib
import sys

TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css"}

output, *files = sys.argv[1:]
table = []
with open(output, "w", encoding="ascii") as out:
    out.write('#include "server/web_console.h"\n\n')
    for number, path in enumerate(map(pathlib.Path, files)):
        data = path.read_bytes()
        out.write(f"static const uint8_t asset_{number}[] = {{\n")
        for at in range(0, len(data), 20):
            out.write("".join(f"{byte}," for byte in data[at : at + 20]) + "\n")
        out.write("};\n")
        table.append(f'{{"/{path.name}", "{TYPES[path.suffix]}", {{asset_{number}, {len(data)}}}}},')
    out.write("const struct rpc_asset web_console_assets[] = {\n" + "\n".join(table) + "\n{0}};\n")
