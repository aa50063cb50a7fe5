"""Code in a forked process to which our package is new, while torch and the like need not be imported again."""

import multiprocessing as mp
import sys
import traceback
from typing import Any


def imported_anew(code: str) -> dict[str, Any]:
    """Run code and return its plain global names (strings, numbers, lists of them), or raise with its traceback."""
    context = mp.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def main() -> None:
        names: dict[str, Any] = {"__name__": "anew"}
        for name in [name for name in sys.modules if name.partition(".")[0] == "lightning_al"]:
            del sys.modules[name]
        try:
            exec(compile(code, "anew", "exec"), names)
        except BaseException:
            theirs.send(traceback.format_exc())
        else:
            plain = (str, int, float, list)
            theirs.send({k: v for k, v in names.items() if isinstance(v, plain) and not k.startswith("_")})

    process = context.Process(target=main)
    process.start()
    theirs.close()
    told = ours.recv()
    process.join()
    if isinstance(told, str):
        raise AssertionError(told)
    return told
