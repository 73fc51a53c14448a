/* SPDX-License-Identifier: BSD-2-Clause */
/* The benchmark's half inside the guest: does what the other end of the console asks for, with a
 * handshake around each measurement, so that the emulator's cost can be read from outside.
 * Lines in: "run OP WORKERS COUNT", then "go", then "done"; or "quit". Lines out: "PBB ready CPUS",
 * "PBB begin", "PBB end WALL_NS TSC_UNITS", "PBB error TEXT". Nothing runs between "begin" and
 * "go", nor between "end" and "done". Runs inside the guest and on any Linux. Tested by the step
 * linux/bench of tools/check.py. */
#define _GNU_SOURCE
#include "tools/initramfs/pbb.h"
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE ((size_t)4096)
#define MAX_WORKERS 32u
#define CHUNK_PAGES 2048u /* 8 MiB: what first touch and copy-on-write use at a time */
#define WALK_PAGES 8192u  /* 32 MiB: more than any TLB holds */
#define LOOP_STEPS 1000u  /* dependent integer steps of one loop operation */
#define RESIDENT_PAGES 2048u

/* One worker: a process of its own, or a thread of one process. */
struct worker {
    unsigned index, count; /* which of how many */
    uint64_t n;            /* operations to do */
    char *mem;             /* what setup made */
    int in, out;           /* ping-pong: this side's ends */
};

struct op {
    const char *name;
    void (*setup)(struct worker *w); /* before the measurement; NULL: nothing */
    void (*run)(struct worker *w);   /* the measurement */
    enum {
        PROCESSES,
        THREADS,
        SPINNERS,
        PAIR,
        DRIVER
    } how; /* SPINNERS: all but the first only spin */
};

static _Atomic bool stop_spinning;
static volatile uint64_t sink;

static void pin(unsigned cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set))
        die("sched_setaffinity");
}

/* Far from stack, libraries and heap wherever those are put, in the same 512 GiB: what is mapped
 * and unmapped here needs page tables of two levels of its own, in each boot. */
#define APART ((char *)0x7fc000000000)

static char *map_at(char *where, size_t pages)
{
    char *p = mmap(where, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        die("mmap");
    /* Pages of 4 KiB: what is counted is one fault a page. */
    if (pages >= 512)
        (void)madvise(p, pages * PAGE, MADV_NOHUGEPAGE);
    return p;
}

static char *map(size_t pages)
{
    return map_at(NULL, pages);
}

static void unmap(char *p, size_t pages)
{
    if (munmap(p, pages * PAGE))
        die("munmap");
}

static void touch(char *p, size_t pages)
{
    for (size_t i = 0; i < pages; i++)
        ((volatile char *)p)[i * PAGE] = (char)i;
}

/* --- one operation each ------------------------------------------------------------------------
 */
static void op_null(struct worker *w)
{
    (void)w;
}

static void op_loop(struct worker *w)
{
    uint64_t x = w->index + 1;
    for (uint64_t i = 0; i < w->n; i++) {
        for (unsigned k = 0; k < LOOP_STEPS; k++)
            x = x * 6364136223846793005u + 1442695040888963407u;
        sink = x;
    }
}

static void op_syscall(struct worker *w)
{
    for (uint64_t i = 0; i < w->n; i++)
        (void)syscall(SYS_getppid);
}

/* CPUID exits under any hypervisor and does nothing else: the price of an empty exit. */
static void op_cpuid(struct worker *w)
{
    for (uint64_t i = 0; i < w->n; i++) {
        uint32_t a = 0x80000000u, b, c = 0, d;
        __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    }
}

static void reap(pid_t pid)
{
    int status;
    if (pid < 0)
        die("fork");
    if (waitpid(pid, &status, 0) != pid || status != 0)
        die("the child");
}

static void op_fork(struct worker *w)
{
    for (uint64_t i = 0; i < w->n; i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(0);
        reap(pid);
    }
}

static void op_exec(struct worker *w)
{
    static char self[] = "/proc/self/exe", flag[] = "--exit";
    char *const args[] = {self, flag, NULL};
    for (uint64_t i = 0; i < w->n; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            execv(self, args);
            _exit(1);
        }
        reap(pid);
    }
}

static void setup_resident(struct worker *w)
{
    w->mem = map(RESIDENT_PAGES);
    touch(w->mem, RESIDENT_PAGES);
}

static void op_mmap1(struct worker *w)
{
    for (uint64_t i = 0; i < w->n; i++) {
        char *p = map_at(APART + w->index * 0x40000000, 1);
        touch(p, 1);
        unmap(p, 1);
    }
}

static void op_mmap256(struct worker *w)
{
    for (uint64_t i = 0; i < w->n; i++) {
        char *p = map_at(APART + w->index * 0x40000000, 256);
        touch(p, 256);
        unmap(p, 256);
    }
}

/* The middle one of three pages of one mapping: mprotect splits the mapping and joins it again, as
 * it does where programs use it. */
static void setup_page(struct worker *w)
{
    w->mem = map(3) + PAGE;
    touch(w->mem, 1);
}

/* What an allocator does that gives its pages back and wants them again: 1 MiB touched, dropped. */
static void setup_reuse(struct worker *w)
{
    w->mem = map(256);
}

static void op_reuse(struct worker *w)
{
    for (uint64_t i = 0; i < w->n; i++) {
        touch(w->mem, 256);
        if (madvise(w->mem, 256 * PAGE, MADV_DONTNEED))
            die("madvise");
    }
}

static void op_mprotect(struct worker *w)
{
    volatile char *p = w->mem;
    for (uint64_t i = 0; i < w->n; i++) {
        if (mprotect(w->mem, PAGE, PROT_READ))
            die("mprotect");
        (void)*p;
        if (mprotect(w->mem, PAGE, PROT_READ | PROT_WRITE))
            die("mprotect");
        *p = (char)i;
    }
}

static void op_touch(struct worker *w)
{
    for (uint64_t left = w->n; left;) {
        size_t pages = left < CHUNK_PAGES ? (size_t)left : CHUNK_PAGES;
        char *p = map(CHUNK_PAGES);
        touch(p, pages);
        unmap(p, CHUNK_PAGES);
        left -= pages;
    }
}

/* A child that sleeps shares the pages; each write then copies one. */
static void op_cow(struct worker *w)
{
    for (uint64_t left = w->n; left;) {
        size_t pages = left < CHUNK_PAGES ? (size_t)left : CHUNK_PAGES;
        int fds[2];
        char byte;
        if (pipe(fds))
            die("pipe");
        pid_t pid = fork();
        if (pid == 0) {
            close(fds[1]);
            _exit(read(fds[0], &byte, 1) == 0 ? 0 : 1);
        }
        touch(w->mem, pages);
        close(fds[1]);
        close(fds[0]);
        reap(pid);
        left -= pages;
    }
}

static void op_pair(struct worker *w)
{
    char byte = 0;
    for (uint64_t i = 0; i < w->n; i++) {
        if (w->index == 0 && write(w->out, &byte, 1) != 1)
            die("pipe");
        if (read(w->in, &byte, 1) != 1)
            die("pipe");
        if (w->index == 1 && write(w->out, &byte, 1) != 1)
            die("pipe");
    }
}

static void setup_walk(struct worker *w)
{
    w->mem = map(WALK_PAGES);
    touch(w->mem, WALK_PAGES);
}

/* A read of each page in an order that no prefetcher guesses; one operation is one read. */
static void op_walk(struct worker *w)
{
    uint64_t at = 1;
    for (uint64_t i = 0; i < w->n; i++) {
        at = (at * 1664525u + 1013904223u) % WALK_PAGES;
        (void)((volatile char *)w->mem)[at * PAGE];
    }
}

/* stress-ng's own workers, `count` of them, so many bogo operations each; one process waits. */
static const char *stressor;

static void op_stress(struct worker *w)
{
    char option[64], ops_option[64], workers[16], operations[32];
    snprintf(option, sizeof(option), "--%s", stressor);
    snprintf(ops_option, sizeof(ops_option), "--%s-ops", stressor);
    snprintf(workers, sizeof(workers), "%u", w->count);
    snprintf(operations, sizeof(operations), "%llu", (unsigned long long)(w->n * w->count));
    char *const args[] = {"stress-ng",    "--quiet",  "--oomable",  "--temp-path", "/tmp",
                          "--mmap-bytes", "1m",       "--vm-bytes", "2m",          option,
                          workers,        ops_option, operations,   NULL};
    pid_t pid = fork();
    if (pid == 0) {
        cpu_set_t all;
        memset(&all, 0xff, sizeof(all));
        (void)sched_setaffinity(0, sizeof(all), &all);
        execvp(args[0], args);
        _exit(1);
    }
    reap(pid);
}

/* THREADS: setup runs once a thread. SPINNERS: only for the first. */
static const struct op ops[] = {
    {"null", NULL, op_null, PROCESSES},
    {"loop", NULL, op_loop, PROCESSES},
    {"syscall", NULL, op_syscall, PROCESSES},
    {"cpuid", NULL, op_cpuid, PROCESSES},
    {"fork", NULL, op_fork, PROCESSES},
    {"fork8m", setup_resident, op_fork, PROCESSES},
    {"exec", NULL, op_exec, PROCESSES},
    {"mmap1", NULL, op_mmap1, PROCESSES},
    {"mmap256", NULL, op_mmap256, PROCESSES},
    {"reuse", setup_reuse, op_reuse, PROCESSES},
    {"mprotect", setup_page, op_mprotect, PROCESSES},
    {"touch", NULL, op_touch, PROCESSES},
    {"cow", setup_resident, op_cow, PROCESSES},
    {"walk", setup_walk, op_walk, PROCESSES},
    {"pipe", NULL, op_pair, PAIR},
    {"thr-touch", NULL, op_touch, THREADS},
    {"thr-mmap", NULL, op_mmap1, THREADS},
    {"thr-mprotect", setup_page, op_mprotect, THREADS},
    {"shoot-munmap", NULL, op_mmap1, SPINNERS},
    {"shoot-mprotect", setup_page, op_mprotect, SPINNERS},
    {"stress", NULL, op_stress, DRIVER},
};

/* --- how they are run --------------------------------------------------------------------------
 */
/* Pipes of one byte a worker: from the workers, and to them. */
static int report_pipe[2], start_pipe[2], finish_pipe[2];

/* Twice a worker: ready to start, and done; its exit is not part of the measurement. Two pipes,
 * since who is done must not take the byte of one who has not started yet. */
static void report_and_wait(const int *pipe_fds)
{
    char byte;
    if (write(report_pipe[1], "r", 1) != 1 || read(pipe_fds[0], &byte, 1) != 1)
        die("the main process is gone");
}

static void await_reports(unsigned n)
{
    char byte;
    while (n--)
        if (read(report_pipe[0], &byte, 1) != 1)
            die("a worker is gone");
}

static void release(const int *pipe_fds, unsigned n)
{
    static const char bytes[MAX_WORKERS];
    if (write(pipe_fds[1], bytes, n) != (ssize_t)n)
        die("write");
}

static const struct op *current;

static void *thread_main(void *arg)
{
    struct worker *w = arg;
    bool spins = current->how == SPINNERS && w->index > 0;
    pin(w->index);
    if (current->setup && !spins)
        current->setup(w);
    report_and_wait(start_pipe);
    if (spins)
        while (!atomic_load_explicit(&stop_spinning, memory_order_relaxed))
            ;
    else
        current->run(w);
    atomic_store_explicit(&stop_spinning, current->how == SPINNERS, memory_order_relaxed);
    report_and_wait(finish_pipe);
    return NULL;
}

/* The process whose threads are the workers; it waits on CPU 0 and takes no time. */
static void threads_main(unsigned count, uint64_t n)
{
    static struct worker w[MAX_WORKERS];
    pthread_t t[MAX_WORKERS];
    for (unsigned i = 0; i < count; i++) {
        w[i] = (struct worker){.index = i, .count = count, .n = n};
        if (pthread_create(&t[i], NULL, thread_main, &w[i]))
            die("pthread_create");
    }
    for (unsigned i = 0; i < count; i++)
        pthread_join(t[i], NULL);
    _exit(0);
}

static void process_main(const struct op *op, struct worker *w, unsigned cpu)
{
    pin(cpu);
    if (op->setup)
        op->setup(w);
    report_and_wait(start_pipe);
    op->run(w);
    report_and_wait(finish_pipe);
    _exit(0);
}

/* The two sides of a ping-pong, on one CPU if `count` is 1. */
static unsigned start_pair(const struct op *op, unsigned count, uint64_t n, pid_t *pids)
{
    int there[2], back[2];
    if (pipe(there) || pipe(back))
        die("pipe");
    struct worker w[2] = {{.index = 0, .count = 2, .n = n, .in = back[0], .out = there[1]},
                          {.index = 1, .count = 2, .n = n, .in = there[0], .out = back[1]}};
    for (unsigned i = 0; i < 2; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            process_main(op, &w[i], count == 1 ? 0 : i);
    }
    close(there[0]), close(there[1]), close(back[0]), close(back[1]);
    return 2;
}

/* Returns the number of processes; *parties is how many report and are to be started. */
static unsigned start(const struct op *op, unsigned count, uint64_t n, pid_t *pids,
                      unsigned *parties)
{
    *parties = op->how == PAIR ? 2 : op->how == DRIVER ? 1 : count;
    if (op->how == PAIR)
        return start_pair(op, count, n, pids);
    if (op->how == THREADS || op->how == SPINNERS) {
        pids[0] = fork();
        if (pids[0] == 0)
            threads_main(count, n);
        return 1;
    }
    for (unsigned i = 0; i < *parties; i++) {
        struct worker w = {.index = i, .count = count, .n = n};
        pids[i] = fork();
        if (pids[i] == 0)
            process_main(op, &w, i);
    }
    return *parties;
}

static void measure(const struct op *op, unsigned count, uint64_t n)
{
    pid_t pids[MAX_WORKERS];
    unsigned parties;
    char line[64];
    if (pipe(report_pipe) || pipe(start_pipe) || pipe(finish_pipe))
        die("pipe");
    current = op;
    unsigned processes = start(op, count, n, pids, &parties);
    for (unsigned i = 0; i < processes; i++)
        if (pids[i] < 0)
            die("fork");
    close(report_pipe[1]);
    await_reports(parties);
    printf("PBB begin\n");
    fflush(stdout);
    if (!read_line(line, sizeof(line)) || strcmp(line, "go"))
        die("no go");
    uint64_t begin = now_ns(), tsc_begin = tsc();
    release(start_pipe, parties);
    await_reports(parties);
    uint64_t tsc_end = tsc(), end = now_ns();
    printf("PBB end %llu %llu\n", (unsigned long long)(end - begin),
           (unsigned long long)(tsc_end - tsc_begin));
    fflush(stdout);
    if (!read_line(line, sizeof(line)) || strcmp(line, "done"))
        die("no done");
    release(finish_pipe, parties);
    close(report_pipe[0]), close(start_pipe[0]), close(start_pipe[1]);
    close(finish_pipe[0]), close(finish_pipe[1]);
    for (unsigned i = 0; i < processes; i++)
        reap(pids[i]);
}

static void command(const char *line, unsigned cpus)
{
    char name[32];
    unsigned count;
    unsigned long long n;
    if (sscanf(line, "run %31s %u %llu", name, &count, &n) != 3) {
        printf("PBB error what is: %s\n", line);
        return;
    }
    /* "stress-NAME": the stressor NAME of stress-ng */
    stressor = name;
    if (!strncmp(name, "stress-", 7)) {
        stressor = name + 7;
        name[6] = 0;
    }
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        if (strcmp(ops[i].name, name) != 0)
            continue;
        if (count < 1 || count > cpus || count > MAX_WORKERS)
            printf("PBB error %u workers on %u CPUs\n", count, cpus);
        else
            measure(&ops[i], count, n);
        return;
    }
    printf("PBB error no operation %s\n", name);
}

int main(int argc, char **argv)
{
    char line[128];
    if (argc > 1 && !strcmp(argv[1], "--exit"))
        return 0;
    raw_console();
    unsigned cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    pin(0);
    printf("PBB ready %u\n", cpus);
    fflush(stdout);
    while (read_line(line, sizeof(line)) && strcmp(line, "quit") != 0) {
        if (line[0])
            command(line, cpus);
        fflush(stdout);
    }
    return 0;
}
