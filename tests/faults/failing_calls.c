/* Preloaded into a job: counts the system calls that write below $FAULT_FOLDER, notes each in
 * $FAULT_LOG, and lets the $FAULT_CALL-th fail with errno $FAULT_ERRNO.  A write whose errno is
 * 0 is cut short instead, and the next one finds the disk full.  Before the fault the folder is
 * copied to $FAULT_BEFORE, so that what was there can be compared with what is left. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 4096 };
static char ours[MOST]; /* descriptors of files and folders below the folder */
static int calls, full; /* only rank 0 writes, and from one thread at a time */

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int inside(const char *path) { /* all paths are absolute */
    const char *folder = getenv("FAULT_FOLDER");
    return folder != NULL && path != NULL && strncmp(path, folder, strlen(folder)) == 0;
}

static void copy_folder(void) {
    char *words[] = {"cp", "-a", getenv("FAULT_FOLDER"), getenv("FAULT_BEFORE"), NULL};
    char *nothing[] = {NULL};
    pid_t child;
    if (posix_spawn(&child, "/bin/cp", NULL, NULL, words, nothing) == 0) waitpid(child, NULL, 0);
}

/* Count a call; return whether it is to fail, with errno set. */
static int fails(const char *name) {
    char line[64];
    int log = NEXT(open)(getenv("FAULT_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    int length = snprintf(line, sizeof line, "%s\n", name);
    if (log < 0 || NEXT(write)(log, line, length) != length) abort();
    NEXT(close)(log);
    if (++calls != atoi(getenv("FAULT_CALL"))) return 0;
    copy_folder();
    errno = atoi(getenv("FAULT_ERRNO"));
    return 1;
}

static int opened(const char *path, int flags, int mode, const char *name) {
    int known = inside(path), writes = flags & (O_WRONLY | O_RDWR);
    struct stat about;
    int folder = known && !writes && stat(path, &about) == 0 && S_ISDIR(about.st_mode);
    if (known && (writes || folder) && fails(folder ? "open folder" : "open")) return -1;
    int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, name);
    int found = real(path, flags, mode);
    if (found >= 0 && found < MOST) ours[found] = known && (writes || folder) ? 1 + folder : 0;
    return found;
}

#define OPEN(name)                              \
    int name(const char *path, int flags, ...) { \
        va_list more;                           \
        va_start(more, flags);                  \
        int mode = va_arg(more, int);           \
        va_end(more);                           \
        return opened(path, flags, mode, #name); \
    }
OPEN(open)
OPEN(open64)

static int is_ours(int file) { return file >= 0 && file < MOST ? ours[file] : 0; }

ssize_t write(int file, const void *data, size_t size) {
    if (is_ours(file) && full) return errno = ENOSPC, -1;
    if (is_ours(file) && fails("write")) {
        if (errno != 0) return -1;
        full = 1;
        size /= 2;
    }
    return NEXT(write)(file, data, size);
}

int fsync(int file) {
    if (is_ours(file) && fails(is_ours(file) == 2 ? "fsync folder" : "fsync")) return -1;
    return NEXT(fsync)(file);
}

int close(int file) {
    int known = is_ours(file);
    int failing = known && fails(known == 2 ? "close folder" : "close"), why = errno;
    if (known) ours[file] = 0;
    int found = NEXT(close)(file);
    return failing ? errno = why, -1 : found; /* closed all the same, as Linux does */
}

int rename(const char *old, const char *new) {
    return inside(new) && fails("rename") ? -1 : NEXT(rename)(old, new);
}

int mkdir(const char *path, mode_t mode) {
    return inside(path) && fails("mkdir") ? -1 : NEXT(mkdir)(path, mode);
}

int unlink(const char *path) {
    return inside(path) && fails("unlink") ? -1 : NEXT(unlink)(path);
}

DIR *opendir(const char *path) {
    return inside(path) && fails("list folder") ? NULL : NEXT(opendir)(path);
}
