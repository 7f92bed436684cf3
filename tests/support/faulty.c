/* Put before the C library (LD_PRELOAD): the n-th write below a folder fails, as on a full disk, or is
   the last thing that the process does; with the power, if wanted: then nothing that was not synced
   is on the disk. And a clock that is wrong. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
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

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* --- the end ----------------------------------------------------------------------------------- */

static long calls, last = -1; /* Of all that changes the folder; the one to die at, from 0. */
static int torn, power;       /* Whether half of what it writes is written; whether syncs count. */

/* What was written since it was last synced, by files that are still open here, if under other
   names: where the power goes, they are cut to the length that they had then. */
static struct unsynced { dev_t dev; ino_t ino; int fd; off_t length; } unsynced[256];
static int many;

void faulty_die(const char *folder, long nth, int half, int with_power) {
    snprintf(home, sizeof home, "%s", folder);
    last = nth, torn = half, power = with_power, calls = 0;
}

long faulty_calls(void) { return calls; }

static void lose_power(void) {
    struct stat now;
    for (int i = 0; power && i < many; i++)
        if (!fstat(unsynced[i].fd, &now) && now.st_size > unsynced[i].length
            && NEXT(ftruncate)(unsynced[i].fd, unsynced[i].length))
            perror("faulty.c: ftruncate");
}

/* So that a process in the middle of anything ends, too: not by a handler of its own. */
void faulty_die_after(long microseconds) {
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
    struct itimerspec when = {.it_value = {microseconds / 1000000, microseconds % 1000000 * 1000}};
    timer_t timer;
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &when, NULL))
        perror("faulty.c: timer");
}

static int place_of(int fd, struct stat *file) {
    if (fstat(fd, file) || !S_ISREG(file->st_mode)) return -2;
    for (int i = 0; i < many; i++)
        if (unsynced[i].dev == file->st_dev && unsynced[i].ino == file->st_ino) return i;
    return -1;
}

static void remember(int fd) {
    struct stat file;
    char path[64];
    if (!power || many == 256 || place_of(fd, &file) != -1) return;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    /* Opened anew: a copy of the handle would keep its lock. */
    int own = NEXT(open)(path, O_WRONLY | O_CLOEXEC);
    if (own >= 0) unsynced[many++] = (struct unsynced){file.st_dev, file.st_ino, own, file.st_size};
}

/* A file that is made shorter: what comes after that is new. */
static void shorten(int fd, off_t length) {
    struct stat file;
    remember(fd);
    int i = power ? place_of(fd, &file) : -1;
    if (i >= 0 && length < unsynced[i].length) unsynced[i].length = length;
}

static void forget(int fd) {
    struct stat file;
    int i = power ? place_of(fd, &file) : -1;
    if (i < 0) return;
    close(unsynced[i].fd);
    unsynced[i] = unsynced[--many];
}

/* Before each call that changes something below the folder. */
static void comes(int fd, const void *data, size_t size) {
    if (fd >= 0) remember(fd);
    if (last < 0 || calls++ < last) return;
    if (torn && data && NEXT(write)(fd, data, size / 2) < 0) perror("faulty.c: write");
    lose_power();
    kill(getpid(), SIGKILL);
}

/* --- the clock --------------------------------------------------------------------------------- */

static long ahead; /* Seconds by which the clock on the wall is wrong. */

void faulty_clock(long seconds) { ahead = seconds; }

int clock_gettime(clockid_t which, struct timespec *now) {
    static int (*next)(clockid_t, struct timespec *);
    if (!next) next = NEXT(clock_gettime);
    int code = next(which, now);
    if (!code && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) now->tv_sec += ahead;
    return code;
}

int gettimeofday(struct timeval *now, void *zone) {
    static int (*next)(struct timeval *, void *);
    if (!next) next = (int (*)(struct timeval *, void *))dlsym(RTLD_NEXT, "gettimeofday");
    int code = next(now, zone);
    if (!code) now->tv_sec += ahead;
    return code;
}

time_t time(time_t *into) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (into) *into = now.tv_sec;
    return now.tv_sec;
}

/* --- what fails -------------------------------------------------------------------------------- */

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

/* A name as the *at functions take it. */
static int ours_at(int at, const char *path) {
    return path && (path[0] == '/' ? ours(path) : at != AT_FDCWD && ours_open(at));
}

ssize_t write(int fd, const void *data, size_t size) {
    if (ours_open(fd)) {
        comes(fd, data, size);
        if (fails()) return -1;
    }
    return NEXT(write)(fd, data, size);
}

ssize_t writev(int fd, const struct iovec *parts, int count) { /* as C++ writes its streams */
    if (ours_open(fd)) {
        comes(fd, NULL, 0);
        if (fails()) return -1;
    }
    return NEXT(writev)(fd, parts, count);
}

int fsync(int fd) {
    int is_ours = ours_open(fd);
    if (is_ours) {
        comes(-1, NULL, 0);
        if (fails()) return -1;
    }
    int code = NEXT(fsync)(fd);
    if (is_ours && !code) forget(fd);
    return code;
}

int rename(const char *from, const char *to) {
    if (ours(to)) {
        comes(-1, NULL, 0);
        if (fails()) return -1;
    }
    return NEXT(rename)(from, to);
}

int mkdir(const char *path, mode_t mode) {
    if (ours(path)) {
        comes(-1, NULL, 0);
        if (fails()) return -1;
    }
    return NEXT(mkdir)(path, mode);
}

static int opens(int (*next)(const char *, int, ...), const char *path, int flags, mode_t mode) {
    int is_ours = flags & (O_CREAT | O_TRUNC) && ours(path);
    if (is_ours) {
        comes(-1, NULL, 0);
        if ((flags & O_CREAT) && fails()) return -1;
    }
    int fd = next(path, flags, mode);
    if (is_ours && fd >= 0) remember(fd);
    return fd;
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
    if (ours_open(out)) {
        comes(out, NULL, 0);
        if (fails()) return -1;
    }
    return next(out, in, from, size);
}

ssize_t sendfile64(int out, int in, off_t *from, size_t size) {
    ssize_t (*next)(int, int, off_t *, size_t) = dlsym(RTLD_NEXT, "sendfile64");
    if (ours_open(out)) {
        comes(out, NULL, 0);
        if (fails()) return -1;
    }
    return next(out, in, from, size);
}

/* --- what never fails on a full disk, but may be the last thing that is done ------------------- */

int unlink(const char *path) {
    if (ours(path)) comes(-1, NULL, 0);
    return NEXT(unlink)(path);
}

int unlinkat(int at, const char *path, int flags) {
    if (ours_at(at, path)) comes(-1, NULL, 0);
    return NEXT(unlinkat)(at, path, flags);
}

int rmdir(const char *path) {
    if (ours(path)) comes(-1, NULL, 0);
    return NEXT(rmdir)(path);
}

int ftruncate(int fd, off_t length) {
    if (ours_open(fd)) comes(fd, NULL, 0), shorten(fd, length);
    return NEXT(ftruncate)(fd, length);
}

int ftruncate64(int fd, off64_t length) {
    int (*next)(int, off64_t) = dlsym(RTLD_NEXT, "ftruncate64");
    if (ours_open(fd)) comes(fd, NULL, 0), shorten(fd, length);
    return next(fd, length);
}

int chmod(const char *path, mode_t mode) {
    if (ours(path)) comes(-1, NULL, 0);
    return NEXT(chmod)(path, mode);
}
