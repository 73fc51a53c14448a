/* SPDX-License-Identifier: BSD-2-Clause */
/* The explorer: breadth first, so that a counterexample is a shortest one. States seen are kept as
 * 64-bit fingerprints: the chance that two of n states share one is below n * n / 2^65, 10^-5 for
 * twenty millions. Tested by tools/model/run.sh. */
#include "explore.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct node { /* how a state was reached: replayed to print a counterexample */
    uint32_t parent;
    uint8_t agent, choices; /* agent: CPU, or CPU + MAX_CPUS for its store buffer */
};
struct queue {
    struct state *s;
    uint32_t *node;
    size_t n, room;
};

struct state S;
static const struct model_run *run;
static int deep;
static bool blocked, broken;
static const char *what_broke;
static int chosen[4], limit[4], nchosen;

static uint64_t *seen;
static size_t seen_size, seen_n;
static struct node *nodes;
static size_t nodes_room;

bool is(int variant)
{
    return run->variant == variant;
}
int bound(int i)
{
    return deep && run->deep[0] ? run->deep[i] : run->bound[i];
}
void block(void)
{
    blocked = true;
}

int choose(int n)
{
    int i = nchosen++;
    if (i >= 4 || n > 4)
        abort();
    limit[i] = n;
    return chosen[i];
}

void expect(bool good, const char *what)
{
    if (good || broken)
        return;
    broken = true;
    what_broke = what;
}

static void flush_one(int c)
{
    struct cpu_state *p = &S.cpu[c];
    S.mem[p->a[0]] = p->v[0];
    for (int i = 1; i < BUFFERED; i++) {
        p->a[i - 1] = p->a[i];
        p->v[i - 1] = p->v[i];
    }
    p->n--;
    p->a[BUFFERED - 1] = p->v[BUFFERED - 1] = 0;
}

void fence(int c)
{
    while (S.cpu[c].n)
        flush_one(c);
}

int load(int c, int word)
{
    const struct cpu_state *p = &S.cpu[c];
    for (int i = p->n; i-- > 0;)
        if (p->a[i] == word)
            return p->v[i];
    return S.mem[word];
}

void store(int c, int word, int value)
{
    struct cpu_state *p = &S.cpu[c];
    if (p->n == BUFFERED) {
        block();
        return;
    }
    p->a[p->n] = (uint8_t)word;
    p->v[p->n++] = (uint8_t)value;
}

int exchange(int c, int word, int value)
{
    fence(c);
    int old = S.mem[word];
    S.mem[word] = (uint8_t)value;
    return old;
}

int fetch_or(int c, int word, int value)
{
    fence(c);
    return exchange(c, word, S.mem[word] | value);
}

int fetch_and(int c, int word, int value)
{
    fence(c);
    return exchange(c, word, S.mem[word] & value);
}

int fetch_add(int c, int word, int value)
{
    fence(c);
    return exchange(c, word, S.mem[word] + value);
}

bool cas(int c, int word, int expected, int value)
{
    fence(c);
    if (S.mem[word] != expected)
        return false;
    S.mem[word] = (uint8_t)value;
    return true;
}

static uint64_t fingerprint(const struct state *s)
{
    uint64_t h = 0x9e3779b97f4a7c15ull, w = 0;
    const unsigned char *p = (const unsigned char *)s;
    for (size_t i = 0; i < sizeof(*s); i += 8) {
        size_t k = sizeof(*s) - i < 8 ? sizeof(*s) - i : 8;
        w = 0;
        memcpy(&w, p + i, k);
        h = (h ^ w) * 0xff51afd7ed558ccdull;
        h ^= h >> 32;
    }
    h *= 0xc4ceb9fe1a85ec53ull;
    h ^= h >> 29;
    return h ? h : 1;
}

static void *need(void *p)
{
    if (!p) {
        fprintf(stderr, "explore: out of memory\n");
        exit(2);
    }
    return p;
}

static bool seen_put(uint64_t f)
{
    size_t i = (size_t)f & (seen_size - 1);
    while (seen[i]) {
        if (seen[i] == f)
            return false;
        i = (i + 1) & (seen_size - 1);
    }
    seen[i] = f;
    seen_n++;
    return true;
}

static bool seen_add(const struct state *s)
{
    if (seen_n * 10 > seen_size * 6) {
        uint64_t *old = seen;
        size_t n = seen_size;
        seen_size *= 2;
        seen_n = 0;
        seen = need(calloc(seen_size, sizeof(*seen)));
        for (size_t i = 0; i < n; i++)
            if (old[i])
                seen_put(old[i]);
        free(old);
    }
    return seen_put(fingerprint(s));
}

static void queue_add(struct queue *q, const struct state *s, uint32_t node)
{
    if (q->n == q->room) {
        q->room = q->room ? q->room * 2 : 4096;
        q->s = need(realloc(q->s, q->room * sizeof(*q->s)));
        q->node = need(realloc(q->node, q->room * sizeof(*q->node)));
    }
    q->s[q->n] = *s;
    q->node[q->n++] = node;
}

static uint32_t node_add(uint32_t parent, int agent, int choices)
{
    size_t n = seen_n - 1;
    if (n >= nodes_room) {
        nodes_room = nodes_room ? nodes_room * 2 : 4096;
        nodes = need(realloc(nodes, nodes_room * sizeof(*nodes)));
    }
    nodes[n] = (struct node){parent, (uint8_t)agent, (uint8_t)choices};
    return (uint32_t)n;
}

/* One step of one agent from S, with the choices of chosen[]. False: not possible. */
static bool step(int agent)
{
    blocked = false;
    nchosen = 0;
    if (agent >= MAX_CPUS) {
        if (!S.cpu[agent - MAX_CPUS].n)
            return false;
        flush_one(agent - MAX_CPUS);
        return true;
    }
    if (S.cpu[agent].done == 1)
        return false;
    S.cpu[agent].done = 0;
    model_run(agent);
    return !blocked;
}

/* The next combination of choices after a step; false when all were taken. */
static bool next_choices(void)
{
    for (int i = nchosen; i-- > 0;) {
        if (++chosen[i] < limit[i])
            return true;
        chosen[i] = 0;
    }
    return false;
}

static int pack_choices(void)
{
    return chosen[0] | chosen[1] << 2 | chosen[2] << 4 | chosen[3] << 6;
}

static void print_step(int agent, const struct state *before)
{
    if (agent >= MAX_CPUS)
        printf("    cpu %d store buffer:", agent - MAX_CPUS);
    else
        printf("    cpu %d line %d.%d:", agent, before->cpu[agent].pc, before->cpu[agent].sub);
    for (int i = 0; model_words[i]; i++)
        if (S.mem[i] != before->mem[i])
            printf(" %s %d->%d", model_words[i], before->mem[i], S.mem[i]);
    for (int c = 0; c < model_cpus; c++)
        for (int i = before->cpu[c].n; c == agent && i < S.cpu[c].n; i++)
            printf(" (%s = %d)", model_words[S.cpu[c].a[i]], S.cpu[c].v[i]);
    for (int i = 0; agent < MAX_CPUS && i < MAX_REGS; i++)
        if (S.cpu[agent].r[i] != before->cpu[agent].r[i])
            printf(" r%d=%d", i, S.cpu[agent].r[i]);
    printf("\n");
}

static void print_path(uint32_t node)
{
    if (node) {
        struct state before;
        int k = nodes[node].choices;
        print_path(nodes[node].parent);
        before = S;
        for (int i = 0; i < 4; i++)
            chosen[i] = k >> (2 * i) & 3;
        (void)step(nodes[node].agent);
        print_step(nodes[node].agent, &before);
    } else {
        memset(&S, 0, sizeof(S));
        model_init();
    }
}

static void print_counterexample(uint32_t node, int agent, int choices)
{
    struct state before;
    const char *what = what_broke;
    print_path(node);
    before = S;
    for (int i = 0; i < 4; i++)
        chosen[i] = choices >> (2 * i) & 3;
    if (agent >= 0) {
        (void)step(agent);
        print_step(agent, &before);
    }
    printf("    %s\n", what);
}

static bool all_may_stop(const struct state *s)
{
    for (int c = 0; c < model_cpus; c++)
        if (!s->cpu[c].done)
            return false;
    return true;
}

/* All successors of one state. True: the property is broken, and the counterexample printed. */
static bool expand(const struct state *s, uint32_t node, struct queue *next, bool verbose)
{
    bool moved = false;
    for (int agent = 0; agent < 2 * MAX_CPUS; agent++) {
        if (agent % MAX_CPUS >= model_cpus)
            continue;
        memset(chosen, 0, sizeof(chosen));
        do {
            S = *s;
            bool can = step(agent);
            int choices = pack_choices();
            int n = nchosen;
            if (can && broken) {
                if (verbose)
                    print_counterexample(node, agent, choices);
                return true;
            }
            moved |= can;
            if (can && seen_add(&S))
                queue_add(next, &S, node_add(node, agent, choices));
            nchosen = n;
        } while (next_choices());
    }
    if (moved || all_may_stop(s))
        return false;
    broken = true;
    what_broke = "somebody waits for ever";
    if (verbose)
        print_counterexample(node, -1, 0);
    return true;
}

static void explore(bool verbose, int *depth)
{
    struct queue now = {0}, next = {0};
    seen_size = 1 << 16;
    seen_n = 0;
    seen = need(calloc(seen_size, sizeof(*seen)));
    broken = false;
    memset(&S, 0, sizeof(S));
    model_init();
    (void)seen_add(&S);
    queue_add(&now, &S, node_add(0, 0, 0));
    for (*depth = 0; now.n && !broken; ++*depth) {
        next.n = 0;
        for (size_t i = 0; i < now.n && !broken; i++)
            (void)expand(&now.s[i], now.node[i], &next, verbose);
        struct queue t = now;
        now = next;
        next = t;
    }
    free(now.s), free(now.node), free(next.s), free(next.node);
    free(seen);
}

/* Usage: NAME [-d] [-v] [RUN]: -d larger bounds, -v prints counterexamples, RUN one run only. */
int main(int argc, char **argv)
{
    bool verbose = false;
    const char *only = NULL;
    int failed = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++) {
        deep |= !strcmp(argv[i], "-d");
        verbose |= !strcmp(argv[i], "-v");
        only = argv[i][0] == '-' ? only : argv[i];
    }
    for (run = model_runs; run < model_runs + model_nruns; run++) {
        int depth = 0;
        if (only && strcmp(only, run->name))
            continue;
        explore(verbose, &depth);
        const char *verdict = broken ? "refuted" : "complete";
        bool as_wanted = broken == (run->name[0] != 0);
        failed += !as_wanted;
        printf("%s: %s%s%s %s, %zu states, depth %d, bounds %d %d %d %d%s%s\n",
               as_wanted ? "ok" : "FAILED", model_name, run->name[0] ? " " : "", run->name, verdict,
               seen_n, depth, bound(0), bound(1), bound(2), bound(3), broken ? ": " : "",
               broken ? what_broke : "");
    }
    return failed ? 1 : 0;
}
