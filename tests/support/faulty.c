/* Put before the C library (LD_PRELOAD): the n-th write below a folder fails, as a full disk would. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static char home[PATH_MAX];
static long left = -1;    /* Writes until one fails; below 0: none does. */
static int number, stays; /* Which error; whether all later writes fail, too. */
static long seen;

void faulty_arm(const char *folder, long nth, int error, int for_good) {
    snprintf(home, sizeof home, "%s", folder);
    left = nth, number = error, stays = for_good, seen = 0;
}

long faulty_seen(void) { return seen; }

static int fails(void) {
    seen++;
    if (left < 0) return 0;
    if (left > 0) return left--, 0;
    if (!stays) left = -1;
    errno = number;
    return 1;
}

static int ours(const char *path) { return home[0] && path && strstr(path, home) == path; }

static int ours_open(int fd) {
    char link[64], path[PATH_MAX];
    if (!home[0] || fd < 3) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return ours(path);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t size) {
    if (ours_open(fd) && fails()) return -1;
    return NEXT(write)(fd, data, size);
}

int fsync(int fd) {
    if (ours_open(fd) && fails()) return -1;
    return NEXT(fsync)(fd);
}

int rename(const char *from, const char *to) {
    if (ours(to) && fails()) return -1;
    return NEXT(rename)(from, to);
}

int mkdir(const char *path, mode_t mode) {
    if (ours(path) && fails()) return -1;
    return NEXT(mkdir)(path, mode);
}

static int opens(int (*next)(const char *, int, ...), const char *path, int flags, mode_t mode) {
    if ((flags & O_CREAT) && ours(path) && fails()) return -1;
    return next(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return opens(NEXT(open), path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return opens(NEXT(open64), path, flags, mode);
}

ssize_t sendfile(int out, int in, off_t *from, size_t size) {
    ssize_t (*next)(int, int, off_t *, size_t) = dlsym(RTLD_NEXT, "sendfile");
    if (ours_open(out) && fails()) return -1;
    return next(out, in, from, size);
}

ssize_t sendfile64(int out, int in, off_t *from, size_t size) {
    ssize_t (*next)(int, int, off_t *, size_t) = dlsym(RTLD_NEXT, "sendfile64");
    if (ours_open(out) && fails()) return -1;
    return next(out, in, from, size);
}
