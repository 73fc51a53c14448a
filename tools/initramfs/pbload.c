/* SPDX-License-Identifier: BSD-2-Clause */
/* An SMP memory-management load that verifies what it does: one thread pinned on each CPU forks,
 * execs, maps, protects and unmaps with patterned pages, then all threads together check that a
 * changed mapping is seen by every CPU. Where the processor is of level x86-64-v3, wide registers
 * must survive it all. Usage: pbload ROUNDS [THREADS]. Runs inside the guest and
 * on any Linux. Tested by the Linux groups of tools/check.py, on the bare emulator as well. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096u
#define WORDS (PAGE / sizeof(uint64_t))
#define PAGES 16u
#define MAX_THREADS 64

static unsigned nthreads;
static unsigned nrounds;
static _Atomic uint64_t ops;
static pthread_barrier_t barrier;
static const char *self_path;

static _Thread_local sigjmp_buf fault_jump;
static _Thread_local volatile sig_atomic_t fault_armed;
static _Thread_local void *volatile fault_at;

#define FAIL(...)                                                                                  \
    do {                                                                                           \
        char text_[200];                                                                           \
        int n_ = snprintf(text_, sizeof(text_), "pbload: FAIL " __VA_ARGS__);                      \
        if (n_ > 0 && write(1, text_, (size_t)n_ < sizeof(text_) ? (size_t)n_ : sizeof(text_)))    \
            (void)!write(1, "\n", 1);                                                              \
        _exit(1);                                                                                  \
    } while (0)

static void on_fault(int sig, siginfo_t *info, void *context)
{
    (void)context;
    if (!fault_armed)
        FAIL("unexpected signal %d at %p", sig, info->si_addr);
    fault_armed = 0;
    fault_at = info->si_addr;
    siglongjmp(fault_jump, 1);
}

/* true if the access raises SIGSEGV with exactly this address. Of four bytes: a 32-bit program may
 * begin a larger one at its upper half. */
static bool faults(uint64_t *at, bool store)
{
    volatile uint32_t *p = (volatile uint32_t *)at;
    if (sigsetjmp(fault_jump, 1))
        return fault_at == (void *)p;
    fault_armed = 1;
    if (store)
        *p = 1;
    else
        (void)*p;
    fault_armed = 0;
    return false;
}

static uint64_t pattern(uint64_t seed, uint64_t page, uint64_t word)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15u + page * 0xbf58476d1ce4e5b9u + word;
    x ^= x >> 31;
    return x * 0x94d049bb133111ebu;
}

/* A few words of each page, the first and the last among them. */
static void fill(uint64_t *base, unsigned pages, uint64_t seed)
{
    for (unsigned p = 0; p < pages; p++)
        for (unsigned w = 0; w < WORDS; w += 73)
            base[p * WORDS + w] = pattern(seed, p, w);
}

static bool verify(const uint64_t *base, unsigned pages, uint64_t seed)
{
    for (unsigned p = 0; p < pages; p++)
        for (unsigned w = 0; w < WORDS; w += 73)
            if (base[p * WORDS + w] != pattern(seed, p, w))
                return false;
    return true;
}

static uint64_t *map_pages(void *at, size_t pages, int prot, int flags, int fd, off_t offset)
{
    uint64_t *m = mmap(at, pages * PAGE, prot, flags, fd, offset);
    if (m == MAP_FAILED)
        FAIL("mmap of %zu pages: errno %d", pages, errno);
    return m;
}

static void protect(void *at, size_t pages, int prot)
{
    if (mprotect(at, pages * PAGE, prot) != 0)
        FAIL("mprotect: errno %d", errno);
}

/* The arena is this thread's own reserved range, so that no other thread's mapping can appear in it
 * while it is being taken away. */
static void test_maps(uint64_t *arena, uint64_t seed)
{
    uint64_t *m = map_pages(arena, PAGES, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    for (unsigned p = 0; p < PAGES; p++)
        if (m[p * WORDS + (seed % WORDS)] != 0)
            FAIL("fresh page %u not zero", p);
    fill(m, PAGES, seed);
    if (!verify(m, PAGES, seed))
        FAIL("pattern lost after fill");
    protect(m, PAGES, PROT_READ);
    if (!faults(m + (seed % PAGES) * WORDS, true))
        FAIL("store to a read-only page did not fault");
    if (!verify(m, PAGES, seed))
        FAIL("pattern lost under PROT_READ");
    protect(m + 2 * WORDS, 3, PROT_NONE);
    if (!faults(m + 3 * WORDS, false))
        FAIL("load from a PROT_NONE page did not fault");
    protect(m, PAGES, PROT_READ | PROT_WRITE);
    fill(m, PAGES, seed + 1);
    if (!verify(m, PAGES, seed + 1))
        FAIL("pattern lost after mprotect RW");
    if (madvise(m + 4 * WORDS, 2 * PAGE, MADV_DONTNEED) != 0)
        FAIL("madvise: errno %d", errno);
    if (m[4 * WORDS] != 0 || m[6 * WORDS - 1] != 0)
        FAIL("page not zero after MADV_DONTNEED");
    if (!verify(m, 4, seed + 1))
        FAIL("neighbours lost by MADV_DONTNEED");
    map_pages(arena, PAGES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
              0);
    if (!faults(m + (seed % PAGES) * WORDS, false))
        FAIL("load from a removed page did not fault");
}

/* In the child, single-threaded: copy-on-write both ways and a real munmap. */
static void cow_child(uint64_t *m, uint64_t *shared, uint64_t seed)
{
    if (!verify(m, PAGES, seed))
        FAIL("child sees another pattern");
    fill(m, PAGES, ~seed);
    if (!verify(m, PAGES, ~seed))
        FAIL("child's own pattern lost");
    shared[0] = seed;
    uint64_t *own =
        map_pages(NULL, PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fill(own, PAGES, seed ^ 5);
    if (!verify(own, PAGES, seed ^ 5))
        FAIL("child's new pages lost");
    if (munmap(own, PAGES * PAGE) != 0 || !faults(own, false) || !faults(own + 5 * WORDS, true))
        FAIL("unmapped page accessible");
    _exit(7);
}

static void reap(pid_t pid, int expected, const char *what)
{
    int status = 0;
    pid_t got;
    do
        got = waitpid(pid, &status, 0);
    while (got < 0 && errno == EINTR);
    if (got != pid || !WIFEXITED(status) || WEXITSTATUS(status) != expected)
        FAIL("%s: child status 0x%x", what, (unsigned)status);
}

static void test_cow(uint64_t *arena, uint64_t seed)
{
    uint64_t *m = map_pages(arena, PAGES, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    uint64_t *shared = map_pages(arena + PAGES * WORDS, 1, PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    fill(m, PAGES, seed);
    pid_t pid = fork();
    if (pid < 0)
        FAIL("fork: errno %d", errno);
    if (pid == 0)
        cow_child(m, shared, seed);
    m[WORDS] ^= 1; /* the parent writes while the child runs */
    m[WORDS] ^= 1;
    reap(pid, 7, "copy-on-write");
    if (!verify(m, PAGES, seed))
        FAIL("parent's pattern changed by the child");
    if (shared[0] != seed)
        FAIL("shared page lost the child's store");
    map_pages(arena, PAGES + 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE,
              -1, 0);
}

static void test_exec(uint64_t seed)
{
    char word[32];
    snprintf(word, sizeof(word), "%llu", (unsigned long long)seed);
    char *argv[] = {(char *)self_path, (char *)"--child", word, NULL};
    char *envp[] = {NULL};
    pid_t pid = vfork();
    if (pid < 0)
        FAIL("vfork: errno %d", errno);
    if (pid == 0) {
        execve(self_path, argv, envp);
        _exit(99);
    }
    reap(pid, (int)(pattern(seed, 1, 2) & 63), "exec");
}

/* --- programs of level x86-64-v3 ------------------------------------------------------------- */
static bool level_v3;

/* What glibc's hwcaps/x86-64-v3 ask for; the compiler's library looks at XCR0 as well. */
static bool level_v3_read(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx") && __builtin_cpu_supports("avx2") &&
           __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
           __builtin_cpu_supports("f16c") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("lzcnt") && __builtin_cpu_supports("movbe");
}

typedef uint64_t wide __attribute__((vector_size(32), aligned(8), may_alias));
#define WIDES 8u /* registers that every mode has */

/* Patterns in eight registers, then whatever `between` is: switches, faults, a child; what comes
 * back. No function's own code may come between, so the registers are named. */
#define WIDE_ROUND(in, out, between)                                                               \
    do {                                                                                           \
        __asm__ volatile("vmovdqu (%0), %%ymm0; vmovdqu 32(%0), %%ymm1; vmovdqu 64(%0), %%ymm2;"   \
                         "vmovdqu 96(%0), %%ymm3; vmovdqu 128(%0), %%ymm4;"                        \
                         "vmovdqu 160(%0), %%ymm5; vmovdqu 192(%0), %%ymm6;"                       \
                         "vmovdqu 224(%0), %%ymm7\n" between                                       \
                         "\n vmovdqu %%ymm0, (%1); vmovdqu %%ymm1, 32(%1);"                        \
                         "vmovdqu %%ymm2, 64(%1); vmovdqu %%ymm3, 96(%1);"                         \
                         "vmovdqu %%ymm4, 128(%1); vmovdqu %%ymm5, 160(%1);"                       \
                         "vmovdqu %%ymm6, 192(%1); vmovdqu %%ymm7, 224(%1)"                        \
                         :                                                                         \
                         : "D"(in), "S"(out)                                                       \
                         : "memory", "cc", "eax", "ecx", "edx", WIDE_CLOBBERS);                    \
    } while (0)
#ifdef __x86_64__
#define WIDE_CLOBBERS "r11", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7"
#define SCHED_YIELD "mov $24, %%eax; syscall"
#else
#define WIDE_CLOBBERS "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7"
#define SCHED_YIELD "mov $158, %%eax; int $0x80"
#endif

__attribute__((target("avx2,fma,bmi,bmi2,lzcnt,f16c,movbe"))) static void test_wide(uint64_t *arena,
                                                                                    uint64_t seed)
{
    uint64_t in[WIDES * 4], out[WIDES * 4];
    wide sum = {0, 0, 0, 0};

    if (!level_v3)
        return;
    for (unsigned i = 0; i < WIDES * 4; i++)
        in[i] = pattern(seed, 77, i);
    WIDE_ROUND(in, out, SCHED_YIELD);
    if (memcmp(in, out, sizeof(in)) != 0)
        FAIL("wide registers changed by a system call");
    WIDE_ROUND(in, out, "mov $300000, %%ecx\n1: dec %%ecx; jnz 1b"); /* interrupts */
    if (memcmp(in, out, sizeof(in)) != 0)
        FAIL("wide registers changed by an interrupt");
    uint64_t *m = map_pages(arena, PAGES, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    WIDE_ROUND(in, m + PAGES * WORDS / 2 - 16, ""); /* each store half on a fresh page */
    if (memcmp(in, m + PAGES * WORDS / 2 - 16, sizeof(in)) != 0)
        FAIL("wide stores to fresh pages");
    for (unsigned i = 0; i < WIDES; i++) /* the compiler's own instructions */
        sum += *(const wide *)&in[4 * i] ^ *(const wide *)&m[PAGES * WORDS / 2 - 16 + 4 * i];
    if (sum[0] | sum[1] | sum[2] | sum[3])
        FAIL("wide arithmetic");
    map_pages(arena, PAGES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
              0);
}

/* --- all threads together: one mapping changed by one CPU, looked at by all ------------------ */
static uint64_t *shoot;           /* one page at a fixed place */
static int shoot_fd;              /* PAGES pages, page g holding generation g in every word */
static _Atomic uint32_t shoot_on; /* the free-running part goes on */

static void shoot_map(unsigned g)
{
    map_pages(shoot, 1, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, shoot_fd,
              (off_t)(g % PAGES) * PAGE);
}

/* Each step: the leader changes, a barrier, all look, a barrier. */
static void shoot_steps(unsigned me, unsigned g)
{
    bool leader = me == g % nthreads;
    if (leader)
        shoot_map(g);
    pthread_barrier_wait(&barrier);
    if (shoot[1] != g % PAGES)
        FAIL("thread %u sees generation %llu, not %u", me, (unsigned long long)shoot[1], g % PAGES);
    pthread_barrier_wait(&barrier);
    if (leader)
        protect(shoot, 1, PROT_NONE);
    pthread_barrier_wait(&barrier);
    if (!faults(shoot + 1, false))
        FAIL("thread %u reads a page another CPU made PROT_NONE", me);
    pthread_barrier_wait(&barrier);
    if (leader)
        protect(shoot, 1, PROT_READ);
    pthread_barrier_wait(&barrier);
    if (shoot[1] != g % PAGES || !faults(shoot + 2 + me, true))
        FAIL("thread %u: page another CPU made read-only is not", me);
    pthread_barrier_wait(&barrier);
    if (leader)
        protect(shoot, 1, PROT_READ | PROT_WRITE);
    pthread_barrier_wait(&barrier);
    shoot[100 + me] = pattern(g, me, 0);
    pthread_barrier_wait(&barrier);
    for (unsigned t = 0; t < nthreads; t++)
        if (shoot[100 + t] != pattern(g, t, 0))
            FAIL("thread %u does not see the store of thread %u", me, t);
    pthread_barrier_wait(&barrier);
}

/* The leader walks through the generations without waiting; a reader must never go back. */
static void shoot_free_running(unsigned me)
{
    uint64_t last = 0;
    unsigned looks = 0;
    if (me == 0)
        shoot_map(0);
    atomic_store(&shoot_on, 1);
    pthread_barrier_wait(&barrier);
    if (me == 0) {
        for (unsigned g = 1; g < PAGES; g++)
            shoot_map(g);
        atomic_store(&shoot_on, 0);
    } else {
        while (atomic_load(&shoot_on) != 0 || looks == 0) {
            uint64_t now = *(volatile uint64_t *)&shoot[1];
            if (now < last)
                FAIL("thread %u saw generation %u after %u", me, (unsigned)now, (unsigned)last);
            last = now;
            looks++;
        }
    }
    pthread_barrier_wait(&barrier);
    if (shoot[1] != PAGES - 1)
        FAIL("thread %u: last generation not seen", me);
    pthread_barrier_wait(&barrier);
}

/* To the CPU of that rank among those that are online, which need not be numbered without gaps. */
static void pin(unsigned me)
{
    cpu_set_t all, one;
    CPU_ZERO(&all);
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof(all), &all) != 0 || CPU_COUNT(&all) == 0)
        FAIL("thread %u: no CPUs: errno %d", me, errno);
    unsigned cpu = 0, rank = me % (unsigned)CPU_COUNT(&all);
    while (!CPU_ISSET(cpu, &all) || rank-- > 0)
        cpu++;
    CPU_SET(cpu, &one);
    if (sched_setaffinity(0, sizeof(one), &one) != 0)
        FAIL("thread %u cannot be pinned to CPU %u: errno %d", me, cpu, errno);
}

static void *worker(void *arg)
{
    unsigned me = (unsigned)(uintptr_t)arg;
    pin(me);
    uint64_t *arena =
        map_pages(NULL, PAGES + 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    pthread_barrier_wait(&barrier);
    for (unsigned r = 0; r < nrounds; r++) {
        uint64_t seed = (uint64_t)me << 32 | r;
        test_maps(arena, seed);
        test_wide(arena, seed);
        if (r % 4 == 0)
            test_cow(arena, seed);
        if (r % 8 == 1)
            test_exec(seed);
        atomic_fetch_add(&ops, 1);
    }
    pthread_barrier_wait(&barrier);
    for (unsigned r = 0; r < nrounds / 4 + 1; r++) {
        shoot_steps(me, r);
        if (r % 4 == 0)
            shoot_free_running(me);
        atomic_fetch_add(&ops, 1);
    }
    return NULL;
}

static void shoot_init(void)
{
    shoot_fd = memfd_create("pbload", 0);
    if (shoot_fd < 0 || ftruncate(shoot_fd, (off_t)PAGES * PAGE) != 0)
        FAIL("memfd: errno %d", errno);
    uint64_t *all = map_pages(NULL, PAGES, PROT_READ | PROT_WRITE, MAP_SHARED, shoot_fd, 0);
    for (unsigned g = 0; g < PAGES; g++)
        for (unsigned w = 0; w < 100; w++)
            all[g * WORDS + w] = g;
    if (munmap(all, (size_t)PAGES * PAGE) != 0)
        FAIL("munmap: errno %d", errno);
    shoot = map_pages(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, shoot_fd, 0);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--child") == 0)
        return (int)(pattern(strtoull(argv[2], NULL, 10), 1, 2) & 63);
    self_path = "/proc/self/exe";
    nrounds = argc > 1 ? (unsigned)atoi(argv[1]) : 20;
    nthreads = argc > 2 ? (unsigned)atoi(argv[2]) : (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    if (nrounds == 0 || nthreads == 0 || nthreads > MAX_THREADS) {
        fprintf(stderr, "usage: pbload ROUNDS [THREADS up to %d]\n", MAX_THREADS);
        return 2;
    }
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    pthread_barrier_init(&barrier, NULL, nthreads);
    shoot_init();
    level_v3 = level_v3_read();
    printf("pbload: level %s\n", level_v3 ? "x86-64-v3" : "below x86-64-v3");
    fflush(stdout);
    pthread_t thread[MAX_THREADS];
    for (unsigned t = 0; t < nthreads; t++)
        if (pthread_create(&thread[t], NULL, worker, (void *)(uintptr_t)t) != 0)
            FAIL("pthread_create: errno %d", errno);
    for (unsigned t = 0; t < nthreads; t++)
        pthread_join(thread[t], NULL);
    printf("pbload: ok ops=%llu threads=%u\n", (unsigned long long)atomic_load(&ops), nthreads);
    return 0;
}
