/* SPDX-License-Identifier: BSD-2-Clause */
/* Power-off, reset, stop, and the emulators' debug ports. Tested by every run that ends. */
#include "arch-x86/cpu/asm.h"
#include "arch-x86/cpu/features.h"
#include "arch-x86/cpu/tsc.h"
#include "arch-x86/defs/pc.h"
#include "arch-x86/plat/acpi.h"
#include "hv/base/log.h"
#include "hv/base/options.h"
#include "hv/port/machine.h"

#define QEMU_PM1_CNT 0x604      /* PIIX4 and ICH9 as SeaBIOS and OVMF place them */
#define QEMU_PM1_CNT_OLD 0xb004 /* Bochs and old QEMU */
#define QEMU_S5 0x2000          /* SLP_TYP 0, SLP_EN */
#define CF9_PORT 0xcf9
#define WAIT_US 200000
#define LAST_LINE_US 100000 /* 64 characters at 9600 baud: what a UART may still hold */
#define SCI_WAIT_SPINS 300

bool port_debugcon_found(void)
{
    return in8(DEBUGCON_PORT) == DEBUGCON_PORT;
}

void port_debugcon(uint8_t byte)
{
    out8(DEBUGCON_PORT, byte);
}

void port_debug_exit(uint32_t value)
{
    if (hv_opt.test) /* on a real machine the port may be anything */
        out32(DEBUG_EXIT_PORT, value);
}

void port_stop(void)
{
    cpu_cli();
    for (;;)
        cpu_hlt();
}

static void wait_us(uint64_t us)
{
    if (tsc_hz)
        tsc_delay_us(us);
}

/* ACPI 6.4, 16.1.6 "Transitioning from the Working to the Sleeping State". */
static void acpi_s5(void)
{
    const struct acpi_info *a = &acpi_info;
    uint16_t keep;

    if (!a->has_s5 || !a->pm1a_cnt)
        return;
    if (a->smi_cmd && a->acpi_enable && !(in16(a->pm1a_cnt) & ACPI_PM1_SCI_EN)) {
        out8(a->smi_cmd, a->acpi_enable);
        for (unsigned i = 0; i < SCI_WAIT_SPINS && !(in16(a->pm1a_cnt) & ACPI_PM1_SCI_EN); i++)
            wait_us(1000);
    }
    keep = in16(a->pm1a_cnt) & ACPI_PM1_SCI_EN;
    out16(a->pm1a_cnt,
          (uint16_t)(keep | (uint32_t)a->slp_typ_a << ACPI_PM1_SLP_TYP_SHIFT | ACPI_PM1_SLP_EN));
    if (a->pm1b_cnt)
        out16(a->pm1b_cnt,
              (uint16_t)((uint32_t)a->slp_typ_b << ACPI_PM1_SLP_TYP_SHIFT | ACPI_PM1_SLP_EN));
    wait_us(WAIT_US);
}

void port_poweroff(void)
{
    wait_us(LAST_LINE_US);
    acpi_s5();
    if (cpu_features.hypervisor || acpi_info.bochs) { /* ports that mean something there only */
        static const char word[] = "Shutdown";
        out16(QEMU_PM1_CNT, QEMU_S5);
        out16(QEMU_PM1_CNT_OLD, QEMU_S5);
        for (size_t i = 0; i < sizeof(word) - 1; i++)
            out8(BOCHS_SHUTDOWN_PORT, (uint8_t)word[i]);
        wait_us(WAIT_US);
    }
    log_err("power", "power-off did not work: switch the machine off");
    port_stop();
}

/* ACPI 6.4, 4.8.3.6 "Reset Register"; one in I/O space, as every PC has it. */
static void acpi_reset(void)
{
    const struct acpi_gas *g = &acpi_info.reset;
    if (g->addr == 0 || g->space != ACPI_SPACE_IO || g->addr > 0xffff)
        return;
    out8((uint16_t)g->addr, acpi_info.reset_value);
    wait_us(WAIT_US);
}

static void cf9_reset(void)
{
    out8(CF9_PORT, 0x02);
    out8(CF9_PORT, 0x06); /* full reset */
    wait_us(WAIT_US);
}

static void kbd_reset(void)
{
    for (unsigned i = 0; i < 1000 && (in8(KBC_STATUS) & 2); i++)
        wait_us(100);
    out8(KBC_STATUS, KBC_PULSE_RESET);
    wait_us(WAIT_US);
}

static void triple_fault(void)
{
    static const struct desc_ptr no_idt = {0, 0};
    cpu_lidt(&no_idt);
    __builtin_trap(); /* #UD without an IDT */
}

void port_reset(void)
{
    static void (*const method[])(void) = {[RESET_ACPI] = acpi_reset,
                                           [RESET_CF9] = cf9_reset,
                                           [RESET_KBD] = kbd_reset,
                                           [RESET_TRIPLE] = triple_fault};
    cpu_cli();
    for (unsigned m = RESET_ACPI; m < ARRAY_SIZE(method); m++)
        if (hv_opt.reset == RESET_AUTO || hv_opt.reset == m)
            method[m]();
    log_err("power", "reset by this method did not work: switch the machine off, try reset=auto");
    port_stop();
}
