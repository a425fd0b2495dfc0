"""The `snnconv` command, and how failures become exit codes.

Exit codes: 0 done or equivalent, 1 not equivalent, 2 usage or unreadable input, 3 refused or unsupported, 4 backend missing,
130 interrupted, 70 internal error. A reader that goes away (`| head`) changes none of them.
"""

from __future__ import annotations

import logging
import sys
import traceback

import typer
from typer.exceptions import TyperException

from snnconv.cli import streams
from snnconv.cli.app import app
from snnconv.errors import InputError, SnnconvError, out_of_memory, plain

_USAGE = InputError.exit_code
_INTERRUPTED = 130
_INTERNAL = 70


def main() -> None:
    """Run the command line; every failure is one `error:` line on stderr unless --debug is given."""
    debug = "--debug" in sys.argv
    # Importing spikingjelly makes torch warn of a compiler for GPUs that is not there.
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)
    out = streams.take_over()
    code = _run(debug)
    if out is not None and out.lost is not None:
        code = _fail(f"output: {out.lost.strerror}", _USAGE)
    sys.exit(code)


def _run(debug: bool) -> int:
    try:
        code = app(standalone_mode=False, prog_name="snnconv")
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except TyperException as error:
        return _fail(_usage(error), _USAGE, debug)
    except SnnconvError as error:
        return _fail(str(error), error.exit_code, debug)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", _INTERRUPTED)
    except SystemExit as stop:
        # So typer ends what completes a command in a shell, and, with 1, what meets a closed pipe; here 1 is a verdict.
        return _fail("a pipe was closed", _USAGE) if isinstance(stop.__context__, OSError) else int(stop.code or 0)
    except OSError as error:
        return _fail(f"{error.filename or 'output'}: {error.strerror or error}", _USAGE, debug)
    except BaseException as error:  # nothing ends in Python's own 1, which would be a verdict
        if out_of_memory(error):
            return _fail("out of memory; close other programs or use a smaller network", _USAGE, debug)
        hint = "" if debug else "; this is a bug of snnconv, run again with --debug and report it"
        return _fail(plain(f"internal error: {type(error).__name__}: {error}{hint}"), _INTERNAL, debug)


def _usage(error: TyperException) -> str:
    near = sorted(getattr(error, "possibilities", None) or ())
    return f"{error.message}; did you mean {' or '.join(near)}?" if near else error.format_message()


def _fail(message: str, code: int, debug: bool = False) -> int:
    if debug:
        traceback.print_exc()
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code
