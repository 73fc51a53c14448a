/* SPDX-License-Identifier: BSD-2-Clause */
/* How the boot modules describe VMs: names, CPUs asked for and left over, memory, what is wrong and
 * what is said of it; and how memory is divided. */
#include "tools/tests/fake/fake.h"
#include "tools/tests/fake/pci.h"
#include "tools/tests/tap.h"
#include "hv/coherency/direct.h"
#include "hv/main.h"
#include "hv/mem/phys.h"
#include "hv/vm/load/load.h"
#include "hv/vm/load/loader.h"
#include "hv/vms.h"

#define MIB (1ull << 20)

static struct plan p;
static struct vm_module mod[HV_MAX_MODULES];

/* One module a string. */
static void plan(uint32_t ncpus, unsigned n, const char *const *string)
{
    fake_console_clear();
    for (unsigned i = 0; i < n; i++)
        mod[i] = (struct vm_module){hpa((i + 1) * MIB), 1000 + i, string[i]};
    plan_modules(&p, mod, n);
    plan_cpus(&p, ncpus);
}
#define PLAN(ncpus, ...)                                                                           \
    do {                                                                                           \
        const char *const strings[] = {__VA_ARGS__};                                               \
        plan(ncpus, sizeof(strings) / sizeof(strings[0]), strings);                                \
    } while (0)

static bool cpus_are(unsigned vm, uint32_t first, uint32_t n)
{
    bool good = p.vm[vm].ncpus == n && !p.vm[vm].out;
    for (uint32_t c = 0; c < n; c++)
        good = good && p.vm[vm].pcpu[c] == first + c;
    return good;
}

static bool said(const char *text)
{
    return strstr(fake_console(), text) != NULL;
}

static void test_one(void)
{
    PLAN(4, "role=linux -- console=ttyS0", "role=initrd");
    tap_eq(p.n, 1, "no vm= at all: one VM");
    tap_ok(cpus_are(0, 0, 4) && p.vm[0].nmods == 2, "it has everything");
    tap_eq(fake_console_len(), 0, "and nothing is said");
    plan(3, 0, NULL);
    tap_ok(p.n == 1 && cpus_are(0, 0, 3), "no module: the loader says so");
    PLAN(40, "role=linux");
    tap_ok(cpus_are(0, 0, 31) && said("9 of 40 CPUs are no VM's"), "a VM has at most 31 CPUs");
}

static void test_modules(void)
{
    PLAN(4, "role=linux", "role=initrd", "vm=b role=linux", "vm=b role=initrd", "role=initrd");
    tap_ok(p.n == 2 && strcmp(p.vm[0].name, "vm0") == 0 && strcmp(p.vm[1].name, "b") == 0,
           "a first VM without a name");
    tap_ok(p.vm[0].nmods == 3 && p.vm[1].nmods == 2 && p.vm[1].mod[1].len == 1003,
           "each has its modules, in their order");
    PLAN(4, "vm=work role=linux", "role=initrd", "vm=b role=linux");
    tap_ok(p.n == 2 && p.vm[0].nmods == 2, "without vm= it is the first VM's");
    tap_ok(cpus_are(0, 0, 2) && cpus_are(1, 2, 2) && said("VM b: CPUs 2-3 (of what was left over)"),
           "CPUs are shared evenly, and it is said");
    PLAN(9, "vm=a", "vm=b", "vm=c", "vm=d", "vm=e", "vm=f", "vm=g", "vm=h", "vm=i");
    tap_ok(p.n == 8 && said("VM i: there are 8 already"), "a ninth VM");
    tap_ok(cpus_are(0, 0, 2) && cpus_are(7, 8, 1), "the first ones get one more");
    PLAN(4, "vm=a/b role=linux");
    tap_ok(p.n == 1 && strcmp(p.vm[0].name, "vm0") == 0, "a name is letters, digits, - and _");
    PLAN(4, "vm=abcdefghijklmnop role=linux");
    tap_ok(strcmp(p.vm[0].name, "vm0") == 0, "of at most 15");
}

/* A module of which nobody knows whose it is does not keep others from starting. */
static void test_strays(void)
{
    static char longest[5000];

    PLAN(4, "vm=a role=linux", "vm=b/c role=linux", "vm= role=initrd", "vm=b role=linux");
    tap_ok(p.n == 2 && p.vm[0].nmods == 1 && p.vm[1].nmods == 1, "no name: no VM's");
    tap_ok(said("module 1: 'vm=b/c': the module is ignored: a VM's name has up to 15 letters") &&
               said("module 2: 'vm=': the module is ignored"),
           "... which is said");
    memset(longest, 'x', sizeof(longest) - 1);
    memcpy(longest, "vm=b role=linux -- ", 19);
    PLAN(4, "vm=a role=linux", longest);
    tap_ok(p.n == 2 && p.vm[0].nmods == 1 && p.vm[1].nmods == 1,
           "too long a string is its own VM's trouble");
}

static void test_forms(void)
{
    static const char *const bad[][2] = {{"cpus=1-", "below 128"},   {"mem=1", "from 64M on"},
                                         {"onend=never", "restart"}, {"console=ttyS0", "com1 to"},
                                         {"virtio=disk", "net2"},    {"cow=1Q", "64M"},
                                         {"addr=x", "0x"},           {"mode=5", "long"},
                                         {"quiet", "behind ' -- '"}, {"display=0", "guest"}};
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        struct module_words w;
        tap_ok(module_string_parse(bad[i][0], &w) == HV_OK &&
                   (i == 8 || strcmp(w.bad, bad[i][0]) == 0) &&
                   strstr(vm_word_form(bad[i][0]), bad[i][1]),
               "'%s': what it should be", bad[i][0]);
    }
}

static void test_cpus(void)
{
    PLAN(6, "vm=a cpus=4-5", "vm=b", "vm=c cpus=0,2");
    tap_ok(cpus_are(0, 4, 2), "a range");
    tap_ok(p.vm[2].ncpus == 2 && p.vm[2].pcpu[0] == 0 && p.vm[2].pcpu[1] == 2, "a list");
    tap_ok(p.vm[1].ncpus == 2 && p.vm[1].pcpu[0] == 1 && p.vm[1].pcpu[1] == 3, "what is left");
    tap_ok(plan_of(&p, 5) == &p.vm[0] && plan_of(&p, 3) == &p.vm[1] && !plan_of(&p, 6),
           "whose a CPU is");
    PLAN(4, "vm=a cpus=0-2", "vm=b cpus=2-3", "vm=c cpus=3");
    tap_ok(cpus_are(0, 0, 3) && p.vm[1].out && !p.vm[1].ncpus && cpus_are(2, 3, 1),
           "overlapping: the second is out, and blocks nobody");
    tap_ok(said("VM b is left out: CPU 2 is VM a's already: correct one of the cpus="), "... said");
    PLAN(4, "vm=a cpus=3-4", "vm=b");
    tap_ok(p.vm[0].out && cpus_are(1, 0, 4) && said("names CPU 4, this machine has 0 to 3"),
           "a CPU that is not there");
    PLAN(2, "vm=a cpus=0-1", "vm=b");
    tap_ok(p.vm[1].out && said("VM b is left out: no CPU is left over"), "nothing left");
    PLAN(64, "vm=a cpus=0-31", "vm=b");
    tap_ok(p.vm[0].out && said("at most 31 CPUs"), "too many");
    static const char *const bad[] = {"cpus=",  "cpus=1-",  "cpus=2-1",
                                      "cpus=a", "cpus=128", "cpus=1,"};
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        plan(4, 1, &bad[i]);
        tap_ok(cpus_are(0, 0, 4), "'%s' is none, and the loader names it", bad[i]);
    }
    PLAN(4, "vm=a cpus=0+3", "vm=b cpus=1-2");
    plan_cpus_lost(&p, 3);
    tap_ok(cpus_are(0, 0, 1) && cpus_are(1, 1, 2) && said("VM a has 1 CPUs: 1 of its own did not"),
           "a CPU that did not come up");
    plan_cpus_lost(&p, 1);
    tap_ok(p.vm[1].out, "one without any is out");
}

static void test_words(void)
{
    PLAN(4, "vm=a mem=2G onend=restart console=com2 role=linux", "vm=b mem=512 onend=stop",
         "vm=c onend=machine");
    tap_ok(p.vm[0].mem_mib == 2048 && p.vm[0].onend == ONEND_RESTART &&
               strcmp(p.vm[0].console, "com2") == 0,
           "all words");
    tap_ok(p.vm[1].mem_mib == 512 && p.vm[1].onend == ONEND_STOP, "MiB");
    tap_ok(p.vm[2].onend == ONEND_MACHINE && p.vm[2].mem_mib == 0, "none: a share");
    PLAN(4, "vm=a mem=1", "vm=b mem=x", "vm=c onend=never", "vm=d mem=2T");
    tap_ok(!p.vm[0].mem_mib && !p.vm[1].mem_mib && !p.vm[2].onend && !p.vm[3].mem_mib,
           "wrong ones");
}

static void plan_memory(uint32_t ncpus, uint64_t free_mib, const char *a, const char *b)
{
    struct boot_info bi = {.nmodules = 2, .module = {{hpa(MIB), 1, a}, {hpa(2 * MIB), 1, b}}};
    fake_console_clear();
    hv_plan(&bi, ncpus, free_mib * MIB);
    p = hv_vms;
}

static uint64_t sum(void)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < p.n; i++)
        if (!p.vm[i].out)
            n += p.vm[i].ram_mib * MIB + p.vm[i].ncpus * p.vm[i].priv_bytes;
    return n;
}

static void test_memory(void)
{
    options_parse(&hv_opt, "", NULL);
    plan_memory(4, 1000, "vm=a", "vm=b");
    tap_ok(p.vm[0].ram_mib == p.vm[1].ram_mib && p.vm[0].ram_mib > 400 && sum() < 1000 * MIB,
           "even shares: %u MiB", (unsigned)p.vm[0].ram_mib);
    plan_memory(4, 2000, "vm=a mem=512", "vm=b");
    tap_ok(p.vm[0].ram_mib == 512 && p.vm[1].ram_mib > 1200 && sum() < 2000 * MIB, "one asks");
    tap_eq(p.vm[0].priv_bytes, hv_private_bytes(512 * MIB), "pools by what the VM has");
    plan_memory(4, 1000, "vm=a mem=2G", "vm=b");
    tap_ok(said("VM a: mem=2048M with what belongs to it is more than the 1000 MiB") &&
               p.vm[0].ram_mib > 400,
           "more than there is: a share");
    plan_memory(4, 100, "vm=a mem=64", "vm=b");
    tap_ok(sum() < 100 * MIB && (p.vm[1].out || p.vm[1].ram_mib >= 16), "hardly any");
    plan_memory(64, 256 << 10, "vm=a cpus=0-30", "vm=b cpus=31-61");
    tap_ok(!p.vm[0].out && !p.vm[1].out && sum() < 256ull << 30 && sum() > 200ull << 30,
           "62 CPUs, 256 GiB: private memory is %u MiB a CPU",
           (unsigned)(p.vm[0].priv_bytes / MIB));
    tap_ok(hv_private_of(0) && hv_private_of(61) && !hv_private_of(62),
           "none for a CPU without VM");
}

/* What a VM's devices take is not its neighbours'. */
static void test_devices(void)
{
    struct boot_info bi = {.nmodules = 3,
                           .module = {{hpa(MIB), 1, "vm=a mem=600"},
                                      {hpa(2 * MIB), 256 * MIB, "vm=a role=disk cow=200M"},
                                      {hpa(300 * MIB), 1, "vm=b"}}};
    uint64_t devices, plain;

    hv_plan(&bi, 2, 1000 * MIB);
    p = hv_vms;
    devices = vm_devices_bytes(&hv_opt, p.vm[0].mod, p.vm[0].nmods);
    tap_ok(devices > 200 * MIB && !p.vm[1].out && sum() + devices < 1000 * MIB,
           "a disk's changes beside a neighbour: %u MiB", (unsigned)p.vm[1].ram_mib);
    bi.module[0].string = "vm=a";
    hv_plan(&bi, 2, 1000 * MIB);
    p = hv_vms;
    tap_ok(p.vm[0].ram_mib + 200 <= p.vm[1].ram_mib && sum() + devices < 1000 * MIB,
           "... are of one's own share: %u of %u MiB", (unsigned)p.vm[0].ram_mib,
           (unsigned)p.vm[1].ram_mib);
    plan_memory(2, 1000, "vm=a", "vm=b");
    plain = p.vm[0].ram_mib;
    plan_memory(2, 1000, "vm=a pci=all", "vm=b");
    tap_ok(p.vm[0].ram_mib + 8 <= plain && p.vm[1].ram_mib == plain,
           "trace words around the BARs of one's devices too");
    phys_reset();
    tap_eq(phys_add(hpa(MIB << 20), MIB << 10), HV_OK, "memory that ends high");
    fake_iommu_found = true;
    plan_memory(2, 16000, "vm=a pci=all", "vm=b");
    uint64_t around = p.vm[0].ram_mib;
    fake_iommu_found = false;
    plan_memory(2, 16000, "vm=a pci=all", "vm=b");
    tap_ok(p.vm[0].ram_mib + 1000 <= around,
           "without an IOMMU they reach up to the end of memory: %u MiB instead of %u",
           (unsigned)p.vm[0].ram_mib, (unsigned)around);
    phys_reset();
}

/* Holder words, a word a frame, are taken out of what is divided. */
static void test_holders(void)
{
    uint64_t plain, words;

    plan_memory(2, 8000, "vm=a mem=4G", "vm=b");
    plain = p.vm[1].ram_mib;
    options_parse(&hv_opt, "directpf=on", NULL);
    plan_memory(2, 8000, "vm=a mem=4G", "vm=b");
    words = direct_bytes(4096 * MIB >> PAGE_SHIFT) + direct_bytes(plain * MIB >> PAGE_SHIFT);
    tap_ok(words > 6 * MIB && p.vm[1].ram_mib + words / MIB <= plain && !p.vm[1].out,
           "holder words of both: %u of %u MiB are left", (unsigned)p.vm[1].ram_mib,
           (unsigned)plain);
    options_parse(&hv_opt, "", NULL);
}

int main(void)
{
    fake_reset();
    test_one();
    test_modules();
    test_strays();
    test_forms();
    test_cpus();
    test_words();
    test_memory();
    test_devices();
    test_holders();
    return tap_done();
}
