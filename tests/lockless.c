/* A file system without locks, for LD_PRELOAD: flock, lockf and fcntl's locks answer ENOLCK, as some NFS mounts do. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/types.h>

static int without_locks(void) {
    errno = ENOLCK;
    return -1;
}

static int locks(int command) {
    switch (command) {
    case F_GETLK:
    case F_SETLK:
    case F_SETLKW:
    case F_OFD_GETLK:
    case F_OFD_SETLK:
    case F_OFD_SETLKW:
        return 1;
    default:
        return 0;
    }
}

int flock(int handle, int operation) { return without_locks(); }
int lockf(int handle, int command, off_t length) { return without_locks(); }
int lockf64(int handle, int command, off64_t length) { return without_locks(); }

#define FCNTL(name)                                                                   \
    int name(int handle, int command, ...) {                                          \
        va_list rest;                                                                 \
        va_start(rest, command);                                                      \
        void *argument = va_arg(rest, void *);                                        \
        va_end(rest);                                                                 \
        if (locks(command))                                                           \
            return without_locks();                                                   \
        int (*original)(int, int, ...) = (int (*)(int, int, ...))dlsym(RTLD_NEXT, #name); \
        return original(handle, command, argument);                                   \
    }

FCNTL(fcntl)
FCNTL(fcntl64)
