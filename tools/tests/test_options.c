/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line: defaults, every option, malformed values, unknown names, hostile text. */
#include "tools/tests/tap.h"
#include "hv/base/console_spec.h"
#include "hv/base/log.h"
#include "hv/base/options.h"

static unsigned warnings;
static char last[300];
static void warn(const char *line)
{
    warnings++;
    snprintf(last, sizeof(last), "%s", line);
}
static struct hv_options parse(const char *s)
{
    struct hv_options o;
    warnings = 0;
    last[0] = 0;
    memset(&o, 0xa5, sizeof(o));
    options_parse(&o, s, warn);
    return o;
}

static void test_defaults(void)
{
    struct hv_options o = parse("");
    tap_ok(warnings == 0 && o.coherency == COHERENCY_MATRIX && o.overflow == OVERFLOW_LAZY &&
               o.consumers_traced && o.interest && !o.derived && o.unsync && o.postpone &&
               o.batch && o.large && o.mmu == MMU_SHADOW && o.reload && o.iopair && o.fresh &&
               o.upper && o.dying && o.shortcuts,
           "coherency defaults");
    tap_ok(o.audit == 0 && o.loglvl == LOG_INFO && o.smp == 0 && o.mem_mib == 0 &&
               o.pool_pages == 0 && !o.test && !o.noreboot && o.panic_s == 3 &&
               o.reset == RESET_AUTO && o.hvsig == HVSIG_KVM && o.pvipi && o.pvflush &&
               o.x2apic_host && o.pcid && o.invpcid && !o.help && o.nconsoles == 0,
           "other defaults");
}

static void test_each(void)
{
    struct hv_options o = parse(
        "/boot/patchbay.elf  coherency=locked overflow=shootdown consumers=all interest=off "
        "derived=on\t"
        "unsync=off postpone=off batch=off large=off reload=off iopair=off fresh=off upper=off "
        "dying=off shortcuts=off mmu=ref "
        "audit=2 loglvl=debug smp=4 mem=2G "
        "pool=4096 test=1 noreboot=1 hvsig=own pvipi=off pvflush=off pcid=off invpcid=off "
        "x2apic=off help "
        "console=com1,115200 console=vga --");
    tap_eq(warnings, 0, "a full command line parses without a warning");
    tap_ok(o.coherency == COHERENCY_LOCKED && o.overflow == OVERFLOW_SHOOTDOWN &&
               !o.consumers_traced && !o.interest && o.derived && !o.unsync && !o.postpone &&
               !o.batch && !o.large && o.mmu == MMU_REF && !o.reload && !o.iopair && !o.fresh &&
               !o.upper && !o.dying && !o.shortcuts,
           "coherency options");
    tap_ok(o.audit == 2 && o.loglvl == LOG_DEBUG && o.smp == 4 && o.mem_mib == 2048 &&
               o.pool_pages == 4096 && o.test && o.noreboot && o.hvsig == HVSIG_OWN && !o.pvipi &&
               !o.pvflush && !o.pcid && !o.invpcid && !o.x2apic_host && o.help,
           "other options");
    tap_ok(o.nconsoles == 2 && !strcmp(o.console[0], "com1,115200") && !strcmp(o.console[1], "vga"),
           "consoles in order");
    tap_eq(parse("coherency=shootdown").coherency, COHERENCY_SHOOTDOWN, "coherency=shootdown");
    tap_eq(parse("mem=512M").mem_mib, 512, "mem=512M");
    tap_eq(parse("mem=768").mem_mib, 768, "mem=768 is MiB");
    tap_eq(parse("mem=1g").mem_mib, 1024, "mem=1g");
    tap_eq(parse("smp=1 smp=3").smp, 3, "the last one counts");
    tap_eq(parse("loglvl=err").loglvl, LOG_ERR, "loglvl=err");
    tap_eq(parse("derived=1").derived, true, "1 is on");
    tap_eq(parse("test").test, true, "a switch alone is on");
}

static void bad(const char *s, const char *mention)
{
    struct hv_options o = parse(s), d;
    unsigned n = warnings;
    char text[300];
    memcpy(text, last, sizeof(text));
    d = parse("");
    tap_ok(n == 1 && strstr(text, mention) && !memcmp(&o, &d, sizeof(o)),
           "'%.40s': one warning (%s), default kept", s, mention);
    if (n != 1 || !strstr(text, mention))
        tap_note("%u warnings, last '%s'", n, text);
}

static void test_bad(void)
{
    bad("audit=4", "0..3");
    bad("audit=", "audit");
    bad("audit=-1", "0..3");
    bad("audit=1x", "0..3");
    bad("audit=99999999999999999999999", "0..3");
    bad("smp=32", "0..31");
    bad("mem=12Q", "N[M|G]");
    bad("mem=M", "N[M|G]");
    bad("mem=1GG", "N[M|G]");
    bad("mem=99999999999G", "N[M|G]");
    bad("mem=40", "at least 64M");
    bad("mem=63M", "at least 64M");
    bad("pool=63", "0|64..");
    bad("panic=3601", "0..3600");
    bad("reset=now", "auto|acpi|cf9|kbd|triple");
    bad("console=com5", "com1..4");
    bad("console=com1,12", "com1..4");
    bad("console=tty0", "fb|vga");
    bad("coherency=matri", "matrix|locked|shootdown");
    bad("coherency", "matrix|locked|shootdown");
    bad("interest=maybe", "on|off");
    bad("loglvl=verbose", "err|warn|info|debug");
    bad("console=", "com1");
    bad("console=123456789012345678901234567890123456789012345678", "com1");
    bad("coherensy=matrix", "did you mean 'coherency'?");
    bad("memory=1G", "did you mean 'mem");
    bad("loglevel=info", "did you mean 'loglvl'?");
    bad("nosuchthing", "unknown option");
    bad("=", "unknown option");
    bad("\x01\xff", "unknown option '?"
                    "?'");
    struct hv_options o =
        parse("console=com1 console=com2 console=com3 console=com4 console=vga console=fb "
              "console=spcr console=auto console=none");
    tap_ok(o.nconsoles == OPT_MAX_CONSOLES && warnings == 1, "too many consoles: one warning");
}

static void test_hostile(void)
{
    char *s = malloc(4096); /* exactly: the sanitizer sees one byte too many read */
    memset(s, 'a', 4096);
    parse(s);
    tap_ok(warnings >= 2, "4096 bytes without an end are read to there and warned about");
    for (unsigned i = 0; i < 4096; i++)
        s[i] = i % 7 == 6 ? ' ' : '=';
    parse(s);
    tap_ok(warnings > 500, "every odd word gets its line");
    free(s);
    uint32_t seed = 1;
    for (unsigned round = 0; round < 3000; round++) {
        char text[200];
        unsigned n = 0;
        for (; n < sizeof(text) - 1; n++) {
            seed = seed * 1103515245u + 12345u;
            text[n] = "acdehilmnoprstuvxy=0123456789 MGx|,"[(seed >> 16) % 35];
        }
        text[n] = 0;
        struct hv_options o = parse(text);
        if (o.audit > 3 || o.smp > HV_MAX_CPUS || o.nconsoles > OPT_MAX_CONSOLES)
            tap_ok(false, "out-of-range value from '%s'", text);
    }
    tap_ok(true, "3000 random lines leave every value in range");
}

static void spec_bad(const char *s)
{
    struct console_spec c;
    tap_ok(!console_spec_parse(s, &c), "console=%s is refused", s);
}

static void test_consoles(void)
{
    static const char *const refused[] = {"",           "com",           "com0",
                                          "com1x",      "com1,",         "com1,9600,clk=48000000",
                                          "pio:",       "pio:0",         "pio:0xfff9",
                                          "mmio32:",    "mmio32:0x3",    "mmio32:0xfe000000,clk=1",
                                          "pci:",       "pci:00:20.0",   "pci:00:1f.8",
                                          "pci:0:1.0x", "pci:000:01.0",  "vga,1",
                                          "pci:.0:1",   "com1,115200n7", "pio:0x3f8,115200,"};
    struct console_spec c;
    for (unsigned i = 0; i < ARRAY_SIZE(refused); i++)
        spec_bad(refused[i]);
    tap_ok(console_spec_parse("com3", &c) && c.kind == CONSOLE_COM && c.com == 3 && !c.baud,
           "com3");
    tap_ok(console_spec_parse("com1,115200n8", &c) && c.com == 1 && c.baud == 115200,
           "com1,115200n8");
    tap_ok(console_spec_parse("pio:0x3e8,9600", &c) && c.kind == CONSOLE_PIO && c.base == 0x3e8 &&
               c.baud == 9600 && !c.clock_hz,
           "pio with a rate");
    tap_ok(console_spec_parse("mmio32:0xfe032000,115200,clk=48000000", &c) &&
               c.kind == CONSOLE_MMIO32 && c.base == 0xfe032000 && c.baud == 115200 &&
               c.clock_hz == 48000000,
           "mmio32 with rate and clock");
    tap_ok(console_spec_parse("mmio32:0x10000000000,clk=1843200", &c) && c.base == 1ull << 40 &&
               !c.baud && c.clock_hz == 1843200,
           "mmio32 above 4 GiB, clock alone");
    tap_ok(console_spec_parse("pci:a0:1f.7,57600", &c) && c.kind == CONSOLE_PCI && c.bus == 0xa0 &&
               c.dev == 0x1f && c.fn == 7 && c.baud == 57600,
           "pci with a rate");
    tap_ok(console_spec_parse("pci:00:16.3", &c) && c.bus == 0 && c.dev == 0x16 && c.fn == 3,
           "pci alone");
    tap_ok(console_spec_parse("spcr", &c) && c.kind == CONSOLE_SPCR, "spcr");
    tap_ok(console_spec_parse("auto", &c) && c.kind == CONSOLE_AUTO, "auto");
}

static unsigned lines;
static char described[8192];
static void emit(const char *line)
{
    lines++;
    strncat(described, line, sizeof(described) - strlen(described) - 2);
    strcat(described, "\n");
}
static void test_describe(void)
{
    static const char *const names[] = {"console=",
                                        "loglvl=err|warn|info|debug",
                                        "smp=0..31",
                                        "mem=N[M|G], at least 64M",
                                        "pool=0|64..16777216",
                                        "audit=0..3",
                                        "coherency=matrix|locked|shootdown",
                                        "overflow=lazy|shootdown",
                                        "consumers=traced|all",
                                        "interest=on|off",
                                        "derived=on|off",
                                        "unsync=on|off",
                                        "mmu=shadow|ref",
                                        "hvsig=kvm|own",
                                        "test=1|0"};
    options_describe(emit);
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        tap_ok(strstr(described, names[i]) != NULL, "described: %s", names[i]);
    tap_ok(lines % 2 == 0 && lines > 40, "two lines an option");
}

int main(void)
{
    test_defaults();
    test_each();
    test_bad();
    test_consoles();
    test_hostile();
    test_describe();
    return tap_done();
}
