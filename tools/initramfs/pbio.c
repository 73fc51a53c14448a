/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest's half of the benchmark of devices: reads random blocks of a disk, so many at once, or
 * receives a stream from the host. The other end of the console asks, with the handshake of
 * pbbench.c around each measurement.
 * Lines in: "run nvme|ahci DEPTH COUNT" or "run recv 1 COUNT", then "go", then "done"; or "quit".
 * Lines out: "PBB ready CPUS", "PBB begin", "PBB end WALL_NS TSC_UNITS", "PBB error TEXT"; and
 * after "done": "PBB device INTERRUPTS PACKETS", what the device has raised and the card received
 * since "begin". Usage: pbio PORT, the host's port of the stream. Tested by the step
 * devices/bench-io. */
#define _GNU_SOURCE
#include "tools/initramfs/pbb.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BLOCK 4096u
#define BLOCKS 16384u /* 64 MiB: the size of the disks */
#define MAX_DEPTH 64u
#define SEGMENT 1460u /* what the emulator's network puts into a packet of 1500 bytes */
#define CARD "eth0"

struct work {
    unsigned depth;
    uint64_t n;
    int fd;
};

struct op {
    const char *name;
    const char *device;    /* the disk; NULL: the network */
    const char *interrupt; /* what the lines of /proc/interrupts have in them */
    void (*run)(const struct work *w);
};

static char buffers[MAX_DEPTH][BLOCK] __attribute__((aligned(4096)));
static char stream[16 * BLOCK];
static int port;
static char line[128];

/* --- what the device did -----------------------------------------------------------------------
 */
static uint64_t interrupts_of(const char *word)
{
    static char text[4096];
    uint64_t sum = 0;
    FILE *f = fopen("/proc/interrupts", "r");
    if (!f)
        die("/proc/interrupts");
    while (fgets(text, sizeof(text), f)) {
        char *at = strchr(text, ':');
        if (!at || !strstr(text, word))
            continue;
        for (at++;;) { /* a number a CPU, then words */
            char *end;
            unsigned long long v = strtoull(at, &end, 10);
            if (end == at || (*end != ' ' && *end != '\t'))
                break;
            sum += v;
            at = end;
        }
    }
    fclose(f);
    return sum;
}

static uint64_t packets(void)
{
    unsigned long long n = 0;
    FILE *f = fopen("/sys/class/net/" CARD "/statistics/rx_packets", "r");
    if (f && fscanf(f, "%llu", &n) != 1)
        n = 0;
    if (f)
        fclose(f);
    return n;
}

/* --- the operations ----------------------------------------------------------------------------
 */
static void prepare(struct iocb *io, unsigned slot, int fd, uint64_t *at)
{
    *at = (*at * 1664525u + 1013904223u) % BLOCKS;
    *io = (struct iocb){
        .aio_data = slot,
        .aio_lio_opcode = IOCB_CMD_PREAD,
        .aio_fildes = (uint32_t)fd,
        .aio_buf = (uint64_t)(uintptr_t)buffers[slot],
        .aio_nbytes = BLOCK,
        .aio_offset = (int64_t)(*at * BLOCK),
    };
}

/* `depth` reads are on their way until none is left to start. */
static void op_read(const struct work *w)
{
    static struct iocb io[MAX_DEPTH];
    static struct io_event done[MAX_DEPTH];
    struct iocb *list[MAX_DEPTH];
    aio_context_t context = 0;
    uint64_t at = 1, left = w->n, flying = 0;
    long k = w->depth;

    if (syscall(SYS_io_setup, w->depth, &context))
        die("io_setup");
    for (unsigned i = 0; i < w->depth; i++)
        done[i].data = i;
    for (;;) {
        long again = 0;
        for (long i = 0; i < k && left; i++, left--, again++) {
            unsigned slot = (unsigned)done[i].data;
            prepare(&io[slot], slot, w->fd, &at);
            list[again] = &io[slot];
        }
        if (again && syscall(SYS_io_submit, context, again, list) != again)
            die("io_submit");
        flying += (uint64_t)again;
        if (!flying)
            break;
        k = syscall(SYS_io_getevents, context, 1L, (long)w->depth, done, NULL);
        if (k < 1)
            die("io_getevents");
        for (long i = 0; i < k; i++)
            if (done[i].res != BLOCK)
                die("a read");
        flying -= (uint64_t)k;
    }
    (void)syscall(SYS_io_destroy, context);
}

static void op_receive(const struct work *w)
{
    for (uint64_t left = w->n * SEGMENT; left;) {
        ssize_t n = read(w->fd, stream, left < sizeof(stream) ? (size_t)left : sizeof(stream));
        if (n <= 0)
            die("the stream");
        left -= (uint64_t)n;
    }
}

static const struct op ops[] = {
    {"null", "/dev/null", "no such interrupt", NULL},
    {"nvme", "/dev/nvme0n1", "nvme0q", op_read},
    {"ahci", "/dev/sda", "ahci[", op_read},
    {"recv", NULL, CARD, op_receive},
};

/* --- how they are run --------------------------------------------------------------------------
 */
static int stream_open(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    to.sin_addr.s_addr = inet_addr("10.0.2.2"); /* the host, as QEMU has it */
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)))
        die("connect");
    return fd;
}

/* The host sends when it has a byte: nothing comes before the measurement. */
static void begin(const struct op *op, const struct work *w)
{
    if (!op->device && write(w->fd, "g", 1) != 1)
        die("write");
    if (op->run)
        op->run(w);
}

static void measure(const struct op *op, struct work w)
{
    w.fd = op->device ? open(op->device, O_RDONLY | (op->run ? O_DIRECT : 0)) : stream_open();
    if (w.fd < 0)
        die(op->device);
    uint64_t interrupts = interrupts_of(op->interrupt), got = packets();
    printf("PBB begin\n");
    fflush(stdout);
    if (!read_line(line, sizeof(line)) || strcmp(line, "go"))
        die("no go");
    uint64_t start = now_ns(), tsc_start = tsc();
    begin(op, &w);
    uint64_t tsc_end = tsc(), end = now_ns();
    printf("PBB end %llu %llu\n", (unsigned long long)(end - start),
           (unsigned long long)(tsc_end - tsc_start));
    fflush(stdout);
    if (!read_line(line, sizeof(line)) || strcmp(line, "done"))
        die("no done");
    printf("PBB device %llu %llu\n",
           (unsigned long long)(interrupts_of(op->interrupt) - interrupts),
           (unsigned long long)(packets() - got));
    fflush(stdout);
    close(w.fd);
}

static void command(void)
{
    char name[32];
    unsigned depth;
    unsigned long long n;

    if (sscanf(line, "run %31s %u %llu", name, &depth, &n) != 3 || depth < 1 || depth > MAX_DEPTH) {
        printf("PBB error what is: %s\n", line);
        return;
    }
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        if (!strcmp(ops[i].name, name)) {
            measure(&ops[i], (struct work){.depth = depth, .n = n});
            return;
        }
    }
    printf("PBB error no operation %s\n", name);
}

int main(int argc, char **argv)
{
    port = argc > 1 ? atoi(argv[1]) : 0;
    raw_console();
    printf("PBB ready %ld\n", sysconf(_SC_NPROCESSORS_ONLN));
    fflush(stdout);
    while (read_line(line, sizeof(line)) && strcmp(line, "quit") != 0) {
        if (line[0])
            command();
        fflush(stdout);
    }
    return 0;
}
