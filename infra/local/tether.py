"""Ties a program to the life of the process that starts it, then becomes that program.

Run by path with `python -I -S`, by a supervisor that may be root, and takes: the supervisor's pid, the signal
by which the program is to die with it, a uid and a gid (-1: stay who you are), the program and its arguments.

A step of its own, and not a `preexec_fn`: that one runs between fork and exec in a process that has threads,
where an allocation can wait for ever for a lock whose holder was not copied.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
CANNOT_EXECUTE = 126


def main(arguments: list[str]) -> str:
    """Returns only if the program could not be started: with the reason."""
    parent, death_signal, uid, gid = (int(argument) for argument in arguments[:4])
    program = arguments[4:]
    try:
        if uid >= 0:
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
        # After the change of user: that clears the setting. Elsewhere than on Linux the next start looks for orphans.
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal)
        if os.getppid() != parent:
            return "the supervisor is gone"
        os.execv(program[0], program)  # noqa: S606 - no shell is the point
    except OSError as error:
        return f"{program[0]}: {error.strerror}"


if __name__ == "__main__":
    print(main(sys.argv[1:]), file=sys.stderr)
    sys.exit(CANNOT_EXECUTE)
