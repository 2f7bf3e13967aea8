"""Binds a program's life to the process that starts it, then executes that program.

It is run by path with `python -I -S`, by a supervisor that may be root. Arguments: the supervisor's pid, the signal
for the program when the supervisor dies, a uid and a gid (-1: no change), the program and its arguments.

It is not a `preexec_fn`, which runs between fork and exec in a process with threads: there an allocation can wait
forever for a lock whose holder was not copied.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
CANNOT_EXECUTE = 126


def main(arguments: list[str]) -> str:
    """Executes the program. Returns only if that failed, with the reason."""
    parent, death_signal, uid, gid = (int(argument) for argument in arguments[:4])
    program = arguments[4:]
    try:
        if uid >= 0:
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
        # Set it after the change of user, which clears it. On other systems the next start stops orphans.
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal)
        if os.getppid() != parent:
            return "the supervisor has ended"
        os.execv(program[0], program)  # noqa: S606 - a shell is not wanted
    except OSError as error:
        return f"{program[0]}: {error.strerror}"


if __name__ == "__main__":
    print(main(sys.argv[1:]), file=sys.stderr)
    sys.exit(CANNOT_EXECUTE)
