/* A file system that fails when it is told to: preloaded, this stands between a process and libc.
 *
 *   cc -shared -fPIC -O1 -o syscalls.so syscalls.c -ldl -lpthread; LD_PRELOAD=./syscalls.so ...
 *
 * Calls that change what lies under one folder are put in one order and counted from 1. What then
 * happens at call n is told by faults_order, through ctypes. Calls that libc makes of itself, as fwrite
 * does, cannot be seen so;
 * whoever takes a picture of the folder before each call notices what they changed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum how { NOTHING, KILL, FAIL_ONCE, FAIL_ON };
enum kind { CHANGE, GROWTH, WRITE }; /* a full disk still lets one delete, truncate and rename */
enum answer { PASS, HALF, REFUSE };

typedef void (*seen)(long n, const char *name, const char *path);

static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
static __thread int inside; /* what the hook itself does is not counted */
static char folder[PATH_MAX];
static long count, at;
static int how, code;
static seen hook;

void faults_watch(const char *path) {
    snprintf(folder, sizeof folder, "%s", path);
    count = 0;
}
void faults_order(long n, int what, int error) { at = n, how = what, code = error; }
void faults_hook(seen call) { hook = call; }
long faults_count(void) { return count; }

static int of_fd(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    path[n < 0 ? 0 : n] = 0;
    return n > 0;
}

static void of_name(int dir, const char *name, char *path) {
    char base[PATH_MAX] = "";
    if (name[0] != '/' && (dir == AT_FDCWD ? getcwd(base, sizeof base) != NULL : of_fd(dir, base)))
        strncat(base, "/", sizeof base - strlen(base) - 1);
    snprintf(path, PATH_MAX, "%.*s%s", (int)(PATH_MAX - strlen(name) - 1), base, name);
}

static int watched(const char *path) {
    size_t n = strlen(folder);
    return n && !inside && !strncmp(path, folder, n) && (!path[n] || path[n] == '/');
}

/* With the lock held: what is to become of this call. */
static enum answer ask(const char *name, const char *path, enum kind kind) {
    count++;
    if (hook) inside = 1, hook(count, name, path), inside = 0;
    if (how == NOTHING || count < at || (count > at && how != FAIL_ON)) return PASS;
    if (how == KILL) kill(getpid(), SIGKILL), pause();
    if (code == ENOSPC && how == FAIL_ON) {
        if (kind == CHANGE) return PASS;
        if (kind == WRITE && count == at) return HALF;
    }
    errno = code;
    return REFUSE;
}

#define REAL(name, type, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)
/* Makes `call` if nothing is against it; `half` where only half of it is to be done. */
#define ORDERED(name, path, kind, type, call, half) \
    if (!watched(path)) return call; \
    int old = 0; \
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old); \
    pthread_mutex_lock(&order); \
    enum answer answer = ask(name, path, kind); \
    type result = answer == REFUSE ? (type)-1 : answer == HALF ? half : call; \
    int error = errno; \
    pthread_mutex_unlock(&order); \
    pthread_setcancelstate(old, &old); \
    errno = error; \
    return result

#define WANTS_MODE(flags) (((flags) & O_CREAT) || ((flags) & O_TMPFILE) == O_TMPFILE)
#define OPEN(symbol, params, dir, call_type, call) \
    int symbol params { \
        mode_t mode = 0; \
        if (WANTS_MODE(flags)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); } \
        REAL(#symbol, int, call_type); \
        if (!(flags & O_TRUNC) && !WANTS_MODE(flags)) return call; \
        char path[PATH_MAX]; of_name(dir, name, path); \
        enum kind kind = access(path, F_OK) ? GROWTH : CHANGE; \
        ORDERED("open", path, kind, int, call, call); \
    }
#define COMMA ,
OPEN(open, (const char *name, int flags, ...), AT_FDCWD, const char * COMMA int COMMA mode_t, real(name, flags, mode))
OPEN(open64, (const char *name, int flags, ...), AT_FDCWD, const char * COMMA int COMMA mode_t, real(name, flags, mode))
OPEN(openat, (int dir, const char *name, int flags, ...), dir, int COMMA const char * COMMA int COMMA mode_t, real(dir, name, flags, mode))
OPEN(openat64, (int dir, const char *name, int flags, ...), dir, int COMMA const char * COMMA int COMMA mode_t, real(dir, name, flags, mode))

#define FOPEN(symbol) \
    FILE *symbol(const char *name, const char *mode) { \
        REAL(#symbol, FILE *, const char *, const char *); \
        if (!strpbrk(mode, "wa+")) return real(name, mode); \
        char path[PATH_MAX]; of_name(AT_FDCWD, name, path); \
        if (!watched(path)) return real(name, mode); \
        pthread_mutex_lock(&order); \
        FILE *result = ask("fopen", path, GROWTH) == REFUSE ? NULL : real(name, mode); \
        pthread_mutex_unlock(&order); \
        return result; \
    }
FOPEN(fopen) FOPEN(fopen64)

#define ON_FD(symbol, kind, type, params, types, call, half) \
    type symbol params { \
        REAL(#symbol, type, types); \
        char path[PATH_MAX]; of_fd(fd, path); \
        ORDERED(#symbol, path, kind, type, call, half); \
    }
ON_FD(write, WRITE, ssize_t, (int fd, const void *b, size_t n), int COMMA const void * COMMA size_t, real(fd, b, n), real(fd, b, n / 2))
ON_FD(pwrite, WRITE, ssize_t, (int fd, const void *b, size_t n, off_t o), int COMMA const void * COMMA size_t COMMA off_t, real(fd, b, n, o), real(fd, b, n / 2, o))
ON_FD(pwrite64, WRITE, ssize_t, (int fd, const void *b, size_t n, off64_t o), int COMMA const void * COMMA size_t COMMA off64_t, real(fd, b, n, o), real(fd, b, n / 2, o))
ON_FD(writev, WRITE, ssize_t, (int fd, const struct iovec *v, int n), int COMMA const struct iovec * COMMA int, real(fd, v, n), real(fd, v, n > 1 ? n / 2 : n))
ON_FD(pwritev, WRITE, ssize_t, (int fd, const struct iovec *v, int n, off_t o), int COMMA const struct iovec * COMMA int COMMA off_t, real(fd, v, n, o), real(fd, v, n > 1 ? n / 2 : n, o))
ON_FD(pwritev64, WRITE, ssize_t, (int fd, const struct iovec *v, int n, off64_t o), int COMMA const struct iovec * COMMA int COMMA off64_t, real(fd, v, n, o), real(fd, v, n > 1 ? n / 2 : n, o))
ON_FD(ftruncate, CHANGE, int, (int fd, off_t n), int COMMA off_t, real(fd, n), 0)
ON_FD(ftruncate64, CHANGE, int, (int fd, off64_t n), int COMMA off64_t, real(fd, n), 0)
ON_FD(fallocate, GROWTH, int, (int fd, int m, off_t o, off_t n), int COMMA int COMMA off_t COMMA off_t, real(fd, m, o, n), 0)
ON_FD(fallocate64, GROWTH, int, (int fd, int m, off64_t o, off64_t n), int COMMA int COMMA off64_t COMMA off64_t, real(fd, m, o, n), 0)
ON_FD(fsync, GROWTH, int, (int fd), int, real(fd), 0)
ON_FD(fdatasync, GROWTH, int, (int fd), int, real(fd), 0)
ON_FD(sendfile, GROWTH, ssize_t, (int fd, int from, off_t *o, size_t n), int COMMA int COMMA off_t * COMMA size_t, real(fd, from, o, n), 0)
ON_FD(sendfile64, GROWTH, ssize_t, (int fd, int from, off64_t *o, size_t n), int COMMA int COMMA off64_t * COMMA size_t, real(fd, from, o, n), 0)
ON_FD(copy_file_range, GROWTH, ssize_t, (int from, off64_t *i, int fd, off64_t *o, size_t n, unsigned f), int COMMA off64_t * COMMA int COMMA off64_t * COMMA size_t COMMA unsigned, real(from, i, fd, o, n, f), 0)

/* A folder that is there already stays: no file system has another word for that. */
#define MKDIR(symbol, params, types, dir, call) \
    int symbol params { \
        REAL(#symbol, int, types); \
        char path[PATH_MAX]; of_name(dir, p, path); \
        if (!access(path, F_OK)) return call; \
        ORDERED(#symbol, path, GROWTH, int, call, 0); \
    }
MKDIR(mkdir, (const char *p, mode_t m), const char * COMMA mode_t, AT_FDCWD, real(p, m))
MKDIR(mkdirat, (int d, const char *p, mode_t m), int COMMA const char * COMMA mode_t, d, real(d, p, m))

/* Where a call names two paths, the second is the one that it changes last. */
#define ON_NAME(symbol, kind, params, types, dir, name, call) \
    int symbol params { \
        REAL(#symbol, int, types); \
        char path[PATH_MAX]; of_name(dir, name, path); \
        ORDERED(#symbol, path, kind, int, call, 0); \
    }
ON_NAME(rmdir, CHANGE, (const char *p), const char *, AT_FDCWD, p, real(p))
ON_NAME(unlink, CHANGE, (const char *p), const char *, AT_FDCWD, p, real(p))
ON_NAME(unlinkat, CHANGE, (int d, const char *p, int f), int COMMA const char * COMMA int, d, p, real(d, p, f))
ON_NAME(truncate, CHANGE, (const char *p, off_t n), const char * COMMA off_t, AT_FDCWD, p, real(p, n))
ON_NAME(truncate64, CHANGE, (const char *p, off64_t n), const char * COMMA off64_t, AT_FDCWD, p, real(p, n))
ON_NAME(rename, CHANGE, (const char *a, const char *p), const char * COMMA const char *, AT_FDCWD, p, real(a, p))
ON_NAME(renameat, CHANGE, (int c, const char *a, int d, const char *p), int COMMA const char * COMMA int COMMA const char *, d, p, real(c, a, d, p))
ON_NAME(renameat2, CHANGE, (int c, const char *a, int d, const char *p, unsigned f), int COMMA const char * COMMA int COMMA const char * COMMA unsigned, d, p, real(c, a, d, p, f))
ON_NAME(link, GROWTH, (const char *a, const char *p), const char * COMMA const char *, AT_FDCWD, p, real(a, p))
ON_NAME(linkat, GROWTH, (int c, const char *a, int d, const char *p, int f), int COMMA const char * COMMA int COMMA const char * COMMA int, d, p, real(c, a, d, p, f))
ON_NAME(symlink, GROWTH, (const char *a, const char *p), const char * COMMA const char *, AT_FDCWD, p, real(a, p))
