"""onnxruntime-web, which computes ONNX models in a browser: its files are part of this package.

They are those of npm's ``onnxruntime-web`` that a page needs on a CPU: one script, the glue of its WebAssembly, and the
WebAssembly itself, packed.
"""

import base64
import gzip
import lzma
from functools import cache
from importlib.resources import files

VERSION = "1.30.0"
SHA256 = {  # of the unpacked files
    "ort.wasm.min.js": "faece07e84faa9001f5104bbe4e5c70861d06cb2376a0dea1fa0ad33a67adc81",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
LEVEL = 6  # of packing; 9 takes three times as long for one percent
SCRIPT, GLUE, WASM = "ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"


@cache
def runtime_file(name: str) -> bytes:
    """The content of ``SCRIPT``, ``GLUE`` or ``WASM``."""
    folder = files("progcycle.web").joinpath("onnxruntime")
    if name == WASM:
        return lzma.decompress(folder.joinpath(f"{WASM}.xz").read_bytes())
    return folder.joinpath(name).read_bytes()


def delivery(**content: bytes) -> str:
    """A script that hands packed content to the page, by name.

    A script is loaded by a page that was opened as a file too, where browsers let nothing else be read.
    """
    parts = [
        f'deliver("{name}","{base64.b64encode(gzip.compress(data, LEVEL, mtime=0)).decode()}");\n'
        for name, data in content.items()
    ]
    return "".join(parts)
