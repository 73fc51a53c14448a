/* SPDX-License-Identifier: BSD-2-Clause */
/* An explicit-state explorer for protocol models of up to three CPUs over x86-TSO: every CPU has a
 * FIFO store buffer that empties at any moment (SDM 3A 8.2 "Memory Ordering"). A model is one C
 * file that says what a CPU does, as a coroutine whose steps are what others cannot interrupt.
 * Tested by tools/model/run.sh: the known-bad variants of each model must be refuted. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define MAX_CPUS 3
#define MAX_WORDS 40
#define MAX_REGS 14
#define MAX_GHOSTS 16
#define BUFFERED 2 /* stores a CPU can have under way */
#define NONE 255

struct cpu_state {
    uint16_t pc, sub;                    /* where run() and its subroutine go on: source lines */
    uint8_t n, a[BUFFERED], v[BUFFERED]; /* the store buffer */
    uint8_t done;                        /* 1: the end; 2: may stop here, others permitting */
    uint8_t r[MAX_REGS];
};
struct state {
    uint8_t mem[MAX_WORDS];
    uint8_t ghost[MAX_GHOSTS]; /* what no CPU can read: for assertions, and changed by MMUs */
    struct cpu_state cpu[MAX_CPUS];
};
extern struct state S; /* the one that is being stepped */

/* Given by the model. */
struct model_run {
    const char *name; /* "" for the protocol as it is, else what is wrong with it */
    int variant;      /* for is() */
    int bound[4];     /* for bound() */
    int deep[4];      /* the same, DEEP=1; first 0: only the shallow one */
};
extern const char *const model_name;
extern int model_cpus;                  /* model_init may set it */
extern const char *const model_words[]; /* names of mem[], ends with NULL */
extern const struct model_run model_runs[];
extern const int model_nruns;
void model_init(void); /* S is zeroed */
void model_run(int c); /* the next step of CPU c */

/* For the model. */
bool is(int variant);
int bound(int i);
int load(int c, int word);              /* the own store buffer first */
void store(int c, int word, int value); /* plain; blocks while the buffer is full */
/* LOCKed instructions: the buffer empties first. All return the old value. */
int exchange(int c, int word, int value);
int fetch_or(int c, int word, int value);
int fetch_and(int c, int word, int value);
int fetch_add(int c, int word, int value);
bool cas(int c, int word, int expected, int value);
void fence(int c);
int choose(int n); /* 0..n-1, all of them explored; at most 4 calls in a step */
void block(void);  /* this step is not possible now: the state stays as it was */
void expect(bool good, const char *what); /* the property */

#define R(x) (S.cpu[c].r[x])
/* A coroutine: BEGIN, then steps; NEXT ends one, WAIT_FOR is a step that is possible when cond. */
#define BEGIN                                                                                      \
    switch (S.cpu[c].pc) {                                                                         \
    case 0:
#define NEXT                                                                                       \
    do {                                                                                           \
        S.cpu[c].pc = __LINE__;                                                                    \
        return;                                                                                    \
    case __LINE__:;                                                                                \
    } while (0)
#define WAIT_FOR(cond)                                                                             \
    do {                                                                                           \
        S.cpu[c].pc = __LINE__;                                                                    \
        return;                                                                                    \
    case __LINE__:                                                                                 \
        if (!(cond)) {                                                                             \
            block();                                                                               \
            return;                                                                                \
        }                                                                                          \
    } while (0)
#define END                                                                                        \
    S.cpu[c].done = 1;                                                                             \
    }
/* A subroutine `bool f(int c)`, true when it is through: SUB_BEGIN, SUB_NEXT, SUB_END. */
#define SUB_BEGIN                                                                                  \
    switch (S.cpu[c].sub) {                                                                        \
    case 0:
#define SUB_NEXT                                                                                   \
    do {                                                                                           \
        S.cpu[c].sub = __LINE__;                                                                   \
        return false;                                                                              \
    case __LINE__:;                                                                                \
    } while (0)
#define SUB_END                                                                                    \
    }                                                                                              \
    S.cpu[c].sub = 0;                                                                              \
    return true;
#define CALL(f)                                                                                    \
    while (!f(c))                                                                                  \
    NEXT
