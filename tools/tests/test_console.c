/* SPDX-License-Identifier: BSD-2-Clause */
/* One console for several VMs: prefixes until the first key, then the one in front; what the others
 * say is kept, and shown when they come to front. */
#include "tools/tests/fake/fake.h"
#include "tools/tests/tap.h"
#include "hv/base/log.h"
#include "hv/vm/console.h"

static void start(uint32_t n)
{
    static const char *const name[] = {"work", "b", "third"};
    fake_reset();
    memset(vm_table, 0, sizeof(vm_table));
    vm_count = n;
    for (uint32_t i = 0; i < n; i++) {
        vm_table[i].id = i;
        strcpy(vm_table[i].name, name[i]);
    }
    vm_console_start();
}

static void out(unsigned vm, const char *text)
{
    vm_console_out(&vm_table[vm], text, strlen(text));
}

static void is(const char *want, const char *what)
{
    tap_ok(strcmp(fake_console(), want) == 0, "%s", what);
    if (strcmp(fake_console(), want) != 0)
        tap_note("got '%s'", fake_console());
    fake_console_clear();
}

static void test_one(void)
{
    start(1);
    out(0, "half a l");
    out(0, "ine\r\n");
    vm_console_typed();
    vm_console_to_front(&vm_table[0]);
    is("half a line\r\n", "one VM: nothing is added or held back");
}

static void test_together(void)
{
    start(2);
    out(0, "hello\r\n");
    out(1, "wor");
    out(0, "next\r\n");
    is("work| hello\nwork| next\n", "whole lines, each with its name");
    out(1, "ld\r\nlogin: ");
    is("b   | world\n", "names are as wide as the longest");
    char longer[600];
    memset(longer, 'x', sizeof(longer));
    vm_console_out(&vm_table[0], longer, sizeof(longer));
    tap_ok(fake_console_len() >= 2 * 255 && strstr(fake_console(), "work| xxx") == fake_console(),
           "a line without end is cut");
    fake_console_clear();
}

static void test_front(void)
{
    start(2);
    out(0, "login: ");
    out(1, "b at the same time");
    is("", "half lines wait");
    vm_console_typed();
    is("login: ", "the first key: the first VM is in front, with the line it was at");
    out(0, "raw\r\n");
    out(1, "\r\nunseen\r\n");
    is("raw\r\n", "as it comes, and nothing of the other");
    vm_console_to_front(&vm_table[1]);
    is("patchbay: VM b is in front\nb at the same time\r\nunseen\r\n", "what it said meanwhile");
    out(0, "behind\r\n");
    out(1, "now\r\n");
    is("now\r\n", "the other one is behind");
    vm_console_to_front(&vm_table[1]);
    is("patchbay: VM b is in front\n", "shown once");
    tap_ok(vm_console_front() == &vm_table[1], "the keys go there");
}

static void test_full(void)
{
    start(3);
    vm_console_typed();
    char text[32];
    for (unsigned i = 0; i < 2000; i++) {
        snprintf(text, sizeof(text), "line number %u\r\n", i);
        out(2, text);
    }
    fake_console_clear();
    vm_console_to_front(&vm_table[2]);
    const char *p = strchr(fake_console(), '\n') + 1;
    tap_ok(strncmp(p, "line number ", 12) == 0 && strlen(p) > VM_KEEP_BYTES - 40 &&
               strlen(p) <= VM_KEEP_BYTES,
           "of much, the last 16 KiB from the beginning of a line");
    tap_ok(strstr(p, "line number 1999\r\n") != NULL && !strstr(p, "number 100\r"), "the newest");
}

static void test_own(void)
{
    start(2);
    vm_console_own(&vm_table[1], "com2");
    fake_console_clear();
    out(1, "its own\r\n");
    out(0, "shared\r\n");
    is("work| shared\n", "a VM with a port of its own is not on the console");
    tap_ok(strcmp(fake_console_own(), "its own\r\n") == 0, "but there, unchanged");
    vm_console_own(&vm_table[0], "com1");
    tap_ok(strstr(fake_console(), "console=com1 is no free serial port") != NULL,
           "one that is not free");
}

int main(void)
{
    test_one();
    test_together();
    test_front();
    test_full();
    test_own();
    return tap_done();
}
